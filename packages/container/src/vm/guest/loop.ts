// The guest agent, part 4: boots the machine, then answers the host over one port until the program has ended. Perl.

/** Frames are those of ../frames.ts: type, channel, length, payload. */
export const GUEST_LOOP: string = String.raw`
my ($REQUEST, $REPLY, $IN, $OUT, $ERR, $CREDIT, $EXIT, $RESET, $HELLO) = (1 .. 9);
# A frame is never longer, so a length above is a stream that has lost its step.
my $MAX_FRAME = 4 << 20;
# Output waits in the pipes of the programs while this much is on its way to the host.
my $MAX_OUTBOX = 1 << 20;
my ($EINTR, $EAGAIN) = (4, 11);
my ($agent, $stdout_port, $stderr_port, $status_port, $child_read, $child_write);
my ($inbox, $outbox, $connected) = ('', '', 0);

sub boot {
  mount('proc', '/proc', 'proc', 0); mount('sysfs', '/sys', 'sysfs', 0);
  mount('devtmpfs', '/dev', 'devtmpfs', 0) unless -e '/dev/null';
  mkdir('/dev/pts', 0755); mount('devpts', '/dev/pts', 'devpts', 0, 'ptmxmode=0666,gid=5');
  for my $name (split(/\n/, slurp('/modules.list'))) {
    open(my $file, '<', "/modules/$name") or die "open $name: $!\n";
    must("load $name", 'finit_module', fileno($file), '', 0); }
  $agent = open_port('heptad.agent', '+<'); nonblocking($agent);
  $stdout_port = open_port('heptad.stdout', '>'); $stderr_port = open_port('heptad.stderr', '>');
  $status_port = open_port('heptad.status', '>');
  pipe($child_read, $child_write); nonblocking($child_read); nonblocking($child_write);
  $SIG{CHLD} = sub { syswrite($child_write, '.'); }; $SIG{PIPE} = 'IGNORE';
}

# The device says a moment after its driver is there which ports it has.
sub open_port { my ($wanted, $mode) = @_;
  for (1 .. 2000) {
    opendir(my $directory, '/sys/class/virtio-ports') or do { select(undef, undef, undef, 0.002); next; };
    for my $port (grep { /^vport/ } readdir($directory)) {
      my $name = slurp("/sys/class/virtio-ports/$port/name") // ''; chomp $name;
      next unless $name eq $wanted && -e "/dev/$port";
      open(my $handle, $mode, "/dev/$port") or die "open $wanted: $!\n"; return $handle; }
    select(undef, undef, undef, 0.002); }
  die "there is no port $wanted\n"; }

sub send_frame { my ($type, $channel, $payload) = @_; $outbox .= pack('CNN', $type, $channel, length($payload)) . $payload if $connected; }

sub serve {
  while (1) {
    my ($reads, $writes) = ('', '');
    vec($reads, fileno($agent), 1) = 1 if $connected;
    vec($reads, fileno($child_read), 1) = 1;
    vec($writes, fileno($agent), 1) = 1 if $connected && length($outbox);
    for my $entry (values %program) {
      for my $handle (values %{ $entry->{read} }) { vec($reads, fileno($handle), 1) = 1 if may_read($entry); }
      vec($writes, fileno($entry->{in}), 1) = 1 if $entry->{in} && length($entry->{queue}); }
    # Without a host there is nothing that could wake us when one comes.
    my $ready = select($reads, $writes, undef, $connected ? undef : 0.05);
    if ($ready < 0) { ($reads, $writes) = ('', ''); }
    if (vec($reads, fileno($child_read), 1)) { my $dots; sysread($child_read, $dots, 4096); }
    reap();
    read_agent() if !$connected || vec($reads, fileno($agent), 1);
    write_agent() if length($outbox);
    for my $entry (values %program) { exchange($entry, $reads); }
  }
}

sub may_read { my ($entry) = @_;
  return 1 if $entry->{channel} == 0 || $entry->{detached}; return $entry->{window} > 0 && length($outbox) < $MAX_OUTBOX; }

sub read_agent {
  my $got = sysread($agent, $inbox, 65536, length($inbox));
  if (!defined $got) { $connected = 1; return; }
  if ($got == 0) { forget_host() if $connected; $connected = 0; return; }
  $connected = 1;
  while (length($inbox) >= 9) {
    my ($type, $channel, $length) = unpack('CNN', $inbox);
    if ($length > $MAX_FRAME) { $inbox = ''; return; }
    # Bytes of type 0 fill up what a host that died in the middle of a frame left.
    if ($type == 0) { $inbox =~ s/^\0+//; next; }
    return if length($inbox) < 9 + $length;
    my $payload = substr($inbox, 9, $length); substr($inbox, 0, 9 + $length) = '';
    receive($type, $channel, $payload); }
}

sub write_agent { my $sent = syswrite($agent, $outbox, 65536); substr($outbox, 0, $sent) = '' if defined $sent; }

# What the host that is gone had started for itself ends; what it started for good goes on.
sub forget_host { $inbox = ''; $outbox = '';
  for my $entry (values %program) { kill_program($entry) unless $entry->{channel} == 0 || $entry->{detached}; } }

sub receive { my ($type, $channel, $payload) = @_;
  my $entry = $program{$channel};
  if ($type == $RESET) { forget_host(); my ($uptime) = split(/ /, slurp('/proc/uptime'));
    send_frame($HELLO, 0, pack_fields('nonce', $payload, 'uptime', $uptime, 'running', defined $main ? 1 : 0)); }
  elsif ($type == $IN && $entry && $entry->{in}) {
    if ($payload eq '') { $entry->{end} = 1; end_input($entry) } else { $entry->{queue} .= $payload; } }
  elsif ($type == $CREDIT && $entry) { $entry->{window} += unpack('N', $payload); }
  elsif ($type == $REQUEST) {
    my ($verb, @fields) = unpack_fields($payload); return unless defined $verb;
    my @answer = eval { answer($verb, $channel, @fields) };
    if ($@) { chomp(my $why = $@); send_frame($REPLY, $channel, pack_fields('error', $why)); }
    else { send_frame($REPLY, $channel, pack_fields('ok', @answer)); } }
}

# Moves bytes between a program and the host, and tells its end once nothing is left of it to tell.
sub exchange { my ($entry, $reads) = @_;
  if ($entry->{in} && length($entry->{queue})) {
    my $sent = syswrite($entry->{in}, $entry->{queue}, 65536);
    if (defined $sent) { substr($entry->{queue}, 0, $sent) = ''; send_frame($CREDIT, $entry->{channel}, pack('N', $sent)); }
    elsif ($! != $EAGAIN) { $entry->{queue} = ''; $entry->{end} = 1; }
    end_input($entry); }
  for my $name (sort keys %{ $entry->{read} }) { my $handle = $entry->{read}{$name};
    next unless may_read($entry) && (defined $entry->{code} || vec($reads, fileno($handle), 1));
    my $room = $entry->{channel} == 0 || $entry->{window} > 32768 ? 32768 : $entry->{window};
    my $got = sysread($handle, my $bytes, $room);
    if ($got) { emit($entry, $name, $bytes); next; }
    # Nothing more will come: the end of the pipe, or (a terminal, a descriptor kept by a child) the end of the program.
    next if !defined $got && !defined $entry->{code} && ($! == $EAGAIN || $! == $EINTR);
    delete $entry->{read}{$name}; emit($entry, $name, ''); }
  finish($entry) if defined $entry->{code} && !%{ $entry->{read} };
}

sub end_input { my ($entry) = @_; return if !$entry->{end} || length($entry->{queue}) || !$entry->{in};
  # A terminal has no end of its own: the character for it is sent instead.
  if ($entry->{terminal}) { syswrite($entry->{in}, "\x04"); } else { close($entry->{in}); } $entry->{in} = undef; }

sub emit { my ($entry, $name, $bytes) = @_;
  if ($entry->{channel} == 0) { my $port = $name eq 'out' ? $stdout_port : $stderr_port;
    while (length($bytes)) { my $sent = syswrite($port, $bytes); last unless defined $sent; substr($bytes, 0, $sent) = ''; } }
  elsif (!$entry->{detached}) { $entry->{window} -= length($bytes); send_frame($name eq 'out' ? $OUT : $ERR, $entry->{channel}, $bytes); } }

sub reap { while ((my $pid = waitpid(-1, 1)) > 0) { my $channel = delete $channel_of{$pid}; next unless defined $channel;
  $program{$channel}{code} = $? & 127 ? 128 + ($? & 127) : $? >> 8; } }

sub finish { my ($entry) = @_;
  if ($entry->{channel} != 0) {
    send_frame($EXIT, $entry->{channel}, pack_fields('code', $entry->{code})); delete $program{$entry->{channel}};
    rmdir($entry->{group}); return; }
  my ($kills) = (slurp("$GROUP/memory.events") // '') =~ /^oom_kill (\d+)/m;
  power_off("exit $entry->{code} " . ($kills ? 1 : 0) . "\n"); }

sub power_off { my ($word) = @_;
  syswrite($status_port, $word); call('umount2', "$ROOT", 2); call('sync'); call('reboot', 0xfee1dead, 672274793, 0x4321fedc, 0);
  sleep(60) while 1; }
`;
