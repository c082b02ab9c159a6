// The guest agent, part 5: what the host can ask for. Perl.

/** Each answers with keys and values, or dies with the reason. */
export const GUEST_VERBS: string = String.raw`
my %VERB = (
  setup => sub { my ($channel, @fields) = @_; setup_machine(@fields); return (); },
  file => sub { my ($channel, @fields) = @_; write_secret(@fields); return (); },
  main => sub { my ($channel, @fields) = @_; die "it runs already\n" if defined $main; return ('pid', start_program(0, @fields)); },
  exec => sub { my ($channel, @fields) = @_; die "there is no program yet\n" unless defined $main; return ('pid', start_program($channel, @fields)); },
  signal => sub { my ($channel, @fields) = @_; my $number = one_of('number', @fields) + 0;
    my @targets = one_of('all', @fields) ? members() : ($main); kill($number, $_) for grep { defined } @targets; return (); },
  'kill-exec' => sub { my ($channel, @fields) = @_; my $entry = $program{one_of('channel', @fields)}; kill_program($entry) if $entry; return (); },
  resize => sub { my ($channel, @fields) = @_; my $entry = $program{one_of('channel', @fields)};
    die "it has no terminal\n" unless $entry && $entry->{terminal}; set_size($entry->{terminal}, one_of('size', @fields)); return (); },
  limits => sub { my ($channel, @fields) = @_; set_limits(@fields); return (); },
  identity => sub { my ($channel, @fields) = @_; identity_files(@fields); return (); },
  stats => sub { return statistics(); },
  top => sub { return ('uptime', (split(/ /, slurp('/proc/uptime')))[0], map { ('process', $_) } map { describe($_) } members()); },
  # FIFREEZE and FITHAW: what is on the disk between them is a whole file system.
  freeze => sub { call('sync'); on_root(0xc0045877, 'freeze'); return (); },
  thaw => sub { on_root(0xc0045878, 'thaw'); return (); },
);

sub answer { my ($verb, $channel, @fields) = @_;
  my $body = $VERB{$verb} or die "$verb is not a request of this agent\n"; return $body->($channel, @fields); }

sub on_root { my ($order, $what) = @_; opendir(my $root, $ROOT) or die "open the root: $!\n";
  open(my $handle, '<', $ROOT) or die "open the root: $!\n"; my $none = pack('i', 0);
  ioctl($handle, $order, $none) or die "$what the disk: $!\n"; }

# Secrets live in memory only; they are given their owner when they are bound into the root.
sub write_secret { my (@fields) = @_; my $path = '/files/' . one_of('name', @fields);
  spew($path, one_of('content', @fields)); chmod(oct(one_of('mode', @fields)), $path);
  if (defined(my $user = one_of('user', @fields))) {
    my ($uid, $gid) = find_user($ROOT, $user); chown($uid, $gid, $path); } }

sub members { my @pids;
  opendir(my $directory, $GROUP) or return ();
  for my $group (grep { $_ eq 'main' || /^exec-/ } readdir($directory)) {
    push @pids, split(/\n/, slurp("$GROUP/$group/cgroup.procs") // ''); } return @pids; }

sub statistics { my %figure = (memory => slurp("$GROUP/memory.current"), pids => slurp("$GROUP/pids.current"), limit => slurp("$GROUP/memory.max"));
  chomp(@figure{keys %figure});
  ($figure{inactive}) = slurp("$GROUP/memory.stat") =~ /^inactive_file (\d+)/m;
  ($figure{cpu}) = slurp("$GROUP/cpu.stat") =~ /^usage_usec (\d+)/m;
  for my $text (slurp("$GROUP/io.stat") // '') {
    while ($text =~ /rbytes=(\d+) wbytes=(\d+)/g) { $figure{read} += $1; $figure{written} += $2; } }
  for my $side ('rx', 'tx') { my $count = slurp("/sys/class/net/eth0/statistics/" . $side . "_bytes"); next unless defined $count; chomp $count; $figure{$side} = $count; }
  my ($total) = slurp('/proc/meminfo') =~ /^MemTotal:\s+(\d+)/m; $figure{total} = $total * 1024;
  return %figure; }

# pid, parent, threads, ticks, start, resident pages, user, command line; separated by zero bytes.
sub describe { my ($pid) = @_;
  my $stat = slurp("/proc/$pid/stat") // return (); my ($name) = $stat =~ /\((.*)\)/s; $stat =~ s/^.*\) //s;
  my @field = split(/ /, $stat); my ($uid) = (slurp("/proc/$pid/status") // '') =~ /^Uid:\s+(\d+)/m;
  my $command = slurp("/proc/$pid/cmdline") // ''; $command =~ s/\0+$//; $command =~ tr/\0/ /;
  $command = "[$name]" if $command eq '';
  return join("\0", $pid, $field[1], $field[17], $field[11] + $field[12], $field[19], $field[21], $uid // 0, $command); }
`;
