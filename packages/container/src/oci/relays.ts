// The two things Node cannot do, in the language every Debian has (perl-base is essential): a pseudo-terminal for an exec, and packets to conmon's attach socket.

import { run } from '../system/command.ts';

/** The interpreter of the relays. */
export const PERL = 'perl';

/** What to do when {@link findPerl} finds none. */
export const PERL_MISSING: string =
  'perl is not installed, so there are no terminals and no standard input of containers: apt-get install perl-base';

/** Whether the relays can run: the modules they use are all in Debian's perl-base. */
export async function findPerl(): Promise<boolean> {
  try {
    const { exitCode } = await run(PERL, ['-MPOSIX', '-MSocket', '-MFcntl', '-e', '1']);
    return exitCode === 0;
  } catch {
    return false;
  }
}

/**
 * Runs a command with a pseudo-terminal of its own. Arguments: rows, columns, program, arguments. Standard input and
 * output are the terminal's bytes; descriptor 3 takes lines `ROWS COLUMNS`. It leaves with the command's exit code.
 *
 * Input is raw from the first byte: the runtime at the other end copies it to the container's own terminal, whose line
 * discipline is the one that counts. Output is left to the runtime: runc has the outer terminal make \r\n of \n, crun the
 * inner. Both directions go on while the other is full, else a program that echoes would stand still.
 */
export const TERMINAL_RELAY = `
use strict; use POSIX (); use Fcntl;
my ($rows, $columns, @command) = @ARGV;
sysopen(my $master, '/dev/ptmx', O_RDWR | O_NOCTTY | O_NONBLOCK) or die "cannot open /dev/ptmx: $!\\n";
ioctl($master, 0x40045431, my $unlock = pack('i', 0)) or die "cannot unlock the terminal: $!\\n";
ioctl($master, 0x80045430, my $number = pack('I', 0)) or die "cannot name the terminal: $!\\n";
my $name = '/dev/pts/' . unpack('I', $number);
my $resize = sub { ioctl($master, 0x5414, my $size = pack('S4', $_[0], $_[1], 0, 0)) };
$resize->($rows, $columns);
sysopen(my $slave, $name, O_RDWR | O_NOCTTY) or die "cannot open $name: $!\\n";
my $modes = POSIX::Termios->new; $modes->getattr(fileno($slave));
$modes->setiflag(0); $modes->setlflag(0); $modes->setcc(POSIX::VMIN, 1); $modes->setcc(POSIX::VTIME, 0);
$modes->setattr(fileno($slave), POSIX::TCSANOW);
open(my $control, '<&=', 3) or die "descriptor 3 is not there: $!\\n";
my $child = fork() // die "cannot fork: $!\\n";
if ($child == 0) {
  close($control);
  POSIX::setsid();
  ioctl($slave, 0x540e, 0) or die "cannot take the terminal: $!\\n";
  POSIX::dup2(fileno($slave), $_) for 0 .. 2;
  POSIX::close($_) for 3 .. 63;
  exec { $command[0] } @command or POSIX::_exit(127);
}
close($slave);
$SIG{PIPE} = 'IGNORE';
my ($typed, $open, $last, $line) = ('', 1, "\\n", '');
for (;;) {
  my ($read, $write) = ('', '');
  vec($read, fileno($master), 1) = 1;
  vec($read, 0, 1) = 1 if $open && length($typed) < 65536;
  vec($read, fileno($control), 1) = 1;
  vec($write, fileno($master), 1) = 1 if length($typed);
  next if select($read, $write, undef, undef) < 0;
  if (vec($read, fileno($master), 1)) {
    my $size = sysread($master, my $shown, 65536);
    last if !$size && !$!{EAGAIN} && !$!{EINTR};
    while ($size && length($shown)) {
      my $done = syswrite(STDOUT, $shown) // last;
      substr($shown, 0, $done, '');
    }
  }
  if (length($typed) && vec($write, fileno($master), 1)) {
    my $done = syswrite($master, $typed);
    substr($typed, 0, $done, '') if $done;
  }
  if ($open && vec($read, 0, 1)) {
    my $size = sysread(STDIN, my $more, 65536);
    if ($size) { $typed .= $more; $last = substr($more, -1) }
    elsif (defined $size) {
      # The end of typed input is Control-D, twice after an unfinished line.
      $open = 0; $typed .= $last =~ /[\\r\\n]/ ? "\\x04" : "\\x04\\x04";
    }
  }
  if (vec($read, fileno($control), 1)) {
    my $size = sysread($control, $line, 4096, length($line));
    # Whoever wanted the terminal is gone: the command is hung up on, as when a window is closed.
    if (!$size) { close($master); kill('HUP', $child); last }
    else { $resize->($1, $2) while $line =~ s/^(\\d+) (\\d+)\\n// }
  }
}
waitpid($child, 0);
exit($? & 127 ? 128 + ($? & 127) : $? >> 8);
`;

/**
 * Carries bytes into a container's standard input for as long as the container lives, so that a client that leaves does
 * not take the input with it (conmon closes it with the connection). Arguments: the directory with conmon's `attach`,
 * the directory for the socket `input.sock`. Clients send frames: a byte, 0 for data and 1 for the end of input, and a
 * length of four bytes, big-endian, before the data. Says \`ready\` once it listens.
 *
 * What conmon sends, the container's output, is read and thrown away: unread it would hold up the container.
 */
export const INPUT_RELAY = `
use strict; use Socket; use Fcntl;
my ($bundle, $directory) = @ARGV;
chdir($bundle) or die "cannot enter $bundle: $!\\n";
socket(my $conmon, AF_UNIX, SOCK_SEQPACKET, 0) or die "cannot make a socket: $!\\n";
connect($conmon, sockaddr_un('attach')) or die "cannot connect to the shim: $!\\n";
chdir($directory) or die "cannot enter $directory: $!\\n";
unlink('input.sock');
socket(my $listener, AF_UNIX, SOCK_STREAM, 0) or die "cannot make a socket: $!\\n";
umask(0177);
bind($listener, sockaddr_un('input.sock')) or die "cannot bind input.sock: $!\\n";
listen($listener, 64) or die "cannot listen: $!\\n";
fcntl($_, F_SETFL, fcntl($_, F_GETFL, 0) | O_NONBLOCK) for $conmon, $listener;
$SIG{PIPE} = 'IGNORE';
chdir('/');
syswrite(STDOUT, "ready\\n");
open($_, '+<', '/dev/null') for *STDIN, *STDOUT, *STDERR;
my ($pending, $ending, $ended, %clients) = ('', 0, 0);
for (;;) {
  my ($read, $write) = ('', '');
  vec($read, fileno($_), 1) = 1 for $conmon, $listener;
  if (length($pending) < 65536) { vec($read, $_, 1) = 1 for keys %clients }
  vec($write, fileno($conmon), 1) = 1 if length($pending) && !$ended;
  next if select($read, $write, undef, undef) < 0;
  if (vec($read, fileno($conmon), 1)) {
    my $size = sysread($conmon, my $output, 65536);
    last if !$size && !$!{EAGAIN} && !$!{EINTR};
  }
  if (vec($read, fileno($listener), 1) && accept(my $client, $listener)) {
    $clients{fileno($client)} = { socket => $client, buffer => '' };
  }
  if (vec($write, fileno($conmon), 1)) {
    my $done = syswrite($conmon, substr($pending, 0, 4096));
    substr($pending, 0, $done, '') if $done;
  }
  for my $number (keys %clients) {
    next unless vec($read, $number, 1);
    my $client = $clients{$number};
    my $size = sysread($client->{socket}, $client->{buffer}, 65536, length($client->{buffer}));
    if (!$size) { delete $clients{$number}; next }
    while (length($client->{buffer}) >= 5) {
      my ($kind, $length) = unpack('CN', $client->{buffer});
      last if length($client->{buffer}) < 5 + $length;
      my $data = substr($client->{buffer}, 0, 5 + $length, '');
      if ($kind == 1) { $ending = 1 } elsif (!$ending) { $pending .= substr($data, 5) }
    }
  }
  $pending = '' if $ended;
  if ($ending && !$ended && !length($pending)) { shutdown($conmon, 1); $ended = 1 }
}
`;
