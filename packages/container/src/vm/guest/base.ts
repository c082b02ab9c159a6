// The guest agent, part 1: system calls by number, fields of messages, and small files. Perl, see ../guest-agent.ts.

/** Linux x86-64 system calls and the words of the protocol. */
export const GUEST_BASE: string = String.raw`
my %CALL = (ioctl => 16, capset => 126, setsid => 112, prctl => 157, chroot => 161, sync => 162, mount => 165,
  umount2 => 166, reboot => 169, sethostname => 170, setrlimit => 160, unshare => 272, setns => 308,
  finit_module => 313, mknod => 133, setgroups => 116, setresgid => 119, setresuid => 117, syncfs => 306);
my ($MS_RDONLY, $MS_NOSUID, $MS_NODEV, $MS_NOEXEC, $MS_REMOUNT, $MS_BIND, $MS_MOVE, $MS_REC, $MS_PRIVATE) =
  (1, 2, 4, 8, 32, 4096, 8192, 16384, 1 << 18);
my $O_NONBLOCK = 2048;

# Perl passes numbers as numbers and strings as pointers; copying makes literals writable, which it insists on.
sub call { my ($name, @arguments) = @_; return syscall($CALL{$name}, @arguments); }
sub must { my ($what, $name, @arguments) = @_; call($name, @arguments) >= 0 or die "$what: $!\n"; }
sub mount { my ($source, $target, $type, $flags, $data) = @_;
  must("mount $type on $target", 'mount', "$source", "$target", "$type", $flags + 0, "" . ($data // '')); }

sub slurp { my ($path) = @_; open(my $file, '<', $path) or return undef; local $/; my $text = <$file>; return $text; }
sub spew { my ($path, $text) = @_;
  open(my $file, '>', $path) or die "open $path: $!\n";
  defined(syswrite($file, $text)) or die "write $path: $!\n";
  close($file) or die "write $path: $!\n"; }
sub nonblocking { my ($handle) = @_; my $flags = fcntl($handle, 3, 0); fcntl($handle, 4, $flags | $O_NONBLOCK); }

# Directories up to a path, as root's; what is there stays as it is.
sub make_path { my ($path) = @_; my $made = '';
  for my $part (split m{/}, $path) { next if $part eq ''; $made .= "/$part"; mkdir($made, 0755); } }
sub make_file { my ($path) = @_; return if -e $path;
  (my $parent = $path) =~ s{/[^/]*$}{}; make_path($parent);
  open(my $file, '>>', $path) or die "create $path: $!\n"; }

# A message is a list of byte strings, each after its length in four bytes, the last of them "end".
sub pack_fields { return pack('(N/a*)*', @_, 'end'); }
sub unpack_fields { my ($payload) = @_; my @fields = eval { unpack('(N/a*)*', $payload) };
  return () unless @fields && pop(@fields) eq 'end'; return @fields; }
# Values of a key that may come several times, and of one that comes once.
sub all_of { my ($key, @fields) = @_; my @values;
  for (my $i = 0; $i + 1 < @fields; $i += 2) { push @values, $fields[$i + 1] if $fields[$i] eq $key; } return @values; }
sub one_of { my @values = all_of(@_); return $values[0]; }
`;
