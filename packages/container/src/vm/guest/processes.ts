// The guest agent, part 3: starting programs as who they should be, and ending them with all they started. Perl.

/** Programs are forked here; what they write is read by the loop of part 4. */
export const GUEST_PROCESSES: string = String.raw`
my (%program, %channel_of, $main, $main_status);

# The image's own files say who a user is; numbers need no entry.
sub find_user { my ($root, $wanted) = @_;
  my ($name, $group) = split(/:/, $wanted eq '' ? '0' : $wanted, 2);
  my ($uid, $gid, $home, $login) = ($name, undef, '/', undef);
  for my $line (split(/\n/, slurp("$root/etc/passwd") // '')) { my @entry = split(/:/, $line);
    next unless @entry >= 6 && ($entry[0] eq $name || ($name =~ /^\d+$/ && $entry[2] eq $name));
    ($login, $uid, $gid, $home) = @entry[0, 2, 3, 5]; last; }
  die "there is no user $name in the image\n" unless $uid =~ /^\d+$/;
  my @more;
  for my $line (split(/\n/, slurp("$root/etc/group") // '')) { my @entry = split(/:/, $line, -1); next unless @entry >= 4;
    $gid = $entry[2] if defined $group && $entry[0] eq $group;
    push @more, $entry[2] if !defined $group && defined $login && grep { $_ eq $login } split(/,/, $entry[3]); }
  $gid = $group if defined $group && $group =~ /^\d+$/;
  die "there is no group $group in the image\n" if defined $group && !(defined $gid && $gid =~ /^\d+$/);
  return ($uid + 0, ($gid // 0) + 0, $home eq '' ? '/' : $home, map { $_ + 0 } @more);
}

# Capabilities go down to the allowed ones and can never come back; root keeps those, others none.
sub become { my ($terminal, @fields) = @_;
  my ($uid, $gid, $home, @more) = find_user('', one_of('user', @fields) // '');
  push @more, grep { /^\d+$/ } all_of('group', @fields);
  my $allowed = hex(one_of('capabilities', @fields) // '0');
  for my $bit (0 .. 40) { call('prctl', 24, $bit, 0, 0, 0) unless ($allowed >> $bit) & 1; }
  # A terminal belongs to who works at it.
  chown($uid, -1, $terminal) if defined $terminal;
  my $groups = pack('L*', @more ? @more : ($gid));
  must('set groups', 'setgroups', scalar(@more ? @more : 1), $groups);
  must('set group', 'setresgid', $gid, $gid, $gid);
  must('set user', 'setresuid', $uid, $uid, $uid);
  if ($uid == 0) {
    my ($low, $high) = ($allowed & 0xffffffff, $allowed >> 32);
    must('set capabilities', 'capset', pack('L l', 0x20080522, 0), pack('L6', $low, $low, 0, $high, $high, 0)); }
  must('give up privileges', 'prctl', 38, 1, 0, 0, 0) if one_of('no-new-privileges', @fields);
  $ENV{HOME} //= $home;
}

sub resource_limits { my (@fields) = @_;
  for my $limit (all_of('rlimit', @fields)) { my ($number, $soft, $hard) = split(/ /, $limit);
    must('set limits', 'setrlimit', $number + 0, pack('QQ', $soft, $hard)); } }

sub find_command { my ($name) = @_;
  return $name if $name =~ m{/};
  for my $directory (split(/:/, $ENV{PATH} // '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin')) {
    my $path = "$directory/$name"; return $path if -f $path && -x _; }
  die "executable file not found in PATH: $name\n"; }

# Opens a terminal of the devpts at $pts: the agent's own for the main program, the program's for the others.
sub open_terminal { my ($pts, $size) = @_;
  open(my $master, '+<', "$pts/ptmx") or die "open a terminal: $!\n";
  my $unlock = pack('i', 0); ioctl($master, 0x40045431, $unlock) or die "unlock the terminal: $!\n";
  my $number = pack('I', 0); ioctl($master, 0x80045430, $number) or die "number of the terminal: $!\n";
  set_size($master, $size);
  return ($master, unpack('I', $number)); }
sub set_size { my ($master, $size) = @_; my ($columns, $rows) = split(/x/, $size);
  my $window = pack('S4', $rows, $columns, 0, 0); ioctl($master, 0x5414, $window); }

# Forks a program into a group of processes of its own. Dies with the reason when it cannot be run.
sub start_program { my ($channel, @fields) = @_;
  my $is_main = $channel == 0; my $tty = one_of('tty', @fields);
  my $group = $GROUP . ($is_main ? '/main' : "/exec-$channel"); mkdir($group, 0755);
  my %pipe; my ($terminal, $number, $space, $slave);
  if ($is_main) {
    # The first process after this is the first of the namespace, and the last: when it ends, so do all.
    must('unshare', 'unshare', 0x20000000);
  } else { open($space, '<', "/proc/$main/ns/mnt") or die "the program has ended\n"; }
  if (defined $tty) {
    my $pts = $is_main ? '/dev/pts' : "/proc/$main/root/dev/pts";
    ($terminal, $number) = open_terminal($pts, $tty);
    open($slave, '+<', "$pts/$number") or die "open terminal $number: $!\n";
  } else { for my $name ('in', 'out', 'err') { pipe($pipe{$name}[0], $pipe{$name}[1]) or die "pipe: $!\n"; } }
  pipe(my $word_read, my $word_write);
  my $pid = fork(); die "fork: $!\n" unless defined $pid;
  if ($pid == 0) {
    eval {
      $SIG{CHLD} = 'DEFAULT'; $SIG{PIPE} = 'DEFAULT';
      spew("$group/cgroup.procs", '0');
      call('setsid');
      if ($is_main) { enter_root(defined $tty ? "/dev/pts/$number" : undef, @fields); }
      else { must('join', 'setns', fileno($space), 0x00020000); }
      open(STDIN, '<&', $slave // $pipe{in}[0]); open(STDOUT, '>&', $slave // $pipe{out}[1]); open(STDERR, '>&', $slave // $pipe{err}[1]);
      my $zero = 0; ioctl(STDIN, 0x540e, $zero) if defined $slave;
      %ENV = map { my ($name, $value) = split(/=/, $_, 2); ($name => $value // '') } all_of('environment', @fields);
      resource_limits(@fields);
      my $directory = one_of('directory', @fields) // '/';
      make_path($directory) if $is_main && !-d $directory;
      become($slave, @fields);
      chdir($directory) or die "enter $directory: $!\n";
      my @command = all_of('argument', @fields);
      my $file = find_command($command[0]);
      # Perl has descriptors above 2 closed by exec, so the pipe for the last word closes without one on success.
      exec { $file } @command;
      die "exec $command[0]: $!\n";
    };
    syswrite($word_write, "$@"); exit(127);
  }
  close($word_write); close($_) for grep { defined } $pipe{in}[0], $pipe{out}[1], $pipe{err}[1], $slave;
  my $why = ''; while (1) { my $got = sysread($word_read, $why, 4096, length($why)); last if defined $got && $got == 0; }
  if ($why ne '') { waitpid($pid, 0); rmdir($group); chomp $why; die "$why\n"; }
  my $entry = { channel => $channel, pid => $pid, group => $group, queue => '', detached => one_of('detached', @fields),
    window => 0, in => $terminal // $pipe{in}[1], terminal => $terminal,
    read => defined $terminal ? { out => $terminal } : { out => $pipe{out}[0], err => $pipe{err}[0] } };
  nonblocking($_) for $entry->{in}, values %{ $entry->{read} };
  $program{$channel} = $entry; $channel_of{$pid} = $channel; $main = $pid if $is_main;
  return $pid;
}

# Kills a program with all it started, whatever became of it meanwhile.
sub kill_program { my ($entry) = @_; eval { spew("$entry->{group}/cgroup.kill", '1') }; }
`;
