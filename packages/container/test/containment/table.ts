// The table of escape attempts: what each tries, and what stops it. attempts.c has the code of each.

/** One attempt. */
export interface Attempt {
  /** The name of the function in attempts.c. */
  readonly name: string;
  readonly area: string;
  readonly tries: string;
  readonly stoppedBy: string;
  /**
   * How the attempt is shown to be a real one: it succeeds for root in namespaces of its own (`root`), or in a chroot
   * (`chroot`). Absent: what it needs is not on every machine, or succeeding would harm the machine.
   */
  readonly control?: 'root' | 'chroot';
}

// name | tries | stopped by | control
const TABLE = `
# Mounts
mount_tmpfs | mount a tmpfs | capabilities (no CAP_SYS_ADMIN), seccomp | root
mount_proc | mount a fresh /proc, without masks | capabilities (no CAP_SYS_ADMIN), seccomp | root
mount_sysfs | mount a fresh /sys, writable | capabilities (no CAP_SYS_ADMIN), seccomp | root
mount_cgroup | mount a cgroup hierarchy, for its release agent (CVE-2022-0492) | capabilities (no CAP_SYS_ADMIN), seccomp | root
mount_debugfs | mount debugfs | capabilities (no CAP_SYS_ADMIN), seccomp | root
mount_overlay | mount an overlay | capabilities (no CAP_SYS_ADMIN), seccomp | root
bind_mount_over_itself | bind-mount a directory | capabilities (no CAP_SYS_ADMIN), seccomp | root
remount_root | remount the root file system | capabilities (no CAP_SYS_ADMIN), seccomp
remount_proc_sys | remount /proc/sys writable | capabilities (no CAP_SYS_ADMIN), seccomp
share_mounts | make its mounts propagate | capabilities (no CAP_SYS_ADMIN), seccomp | root
new_mount_api | open a file system by fsopen(2) | capabilities (no CAP_SYS_ADMIN), seccomp | root
clone_mount_tree | copy the mount tree by open_tree(2) | capabilities (no CAP_SYS_ADMIN), seccomp | root
mount_attributes | clear read-only by mount_setattr(2) | capabilities (no CAP_SYS_ADMIN), seccomp
unmask_kcore | unmount the mask over /proc/kcore | capabilities (no CAP_SYS_ADMIN), seccomp
unmask_proc_sys | unmount the read-only /proc/sys | capabilities (no CAP_SYS_ADMIN), seccomp
unmount_proc | unmount /proc | capabilities (no CAP_SYS_ADMIN), seccomp
pivot | change the root by pivot_root(2) | capabilities (no CAP_SYS_ADMIN), seccomp
chroot_twice | leave by a second chroot | the root was changed by pivot_root: nothing lies above it | chroot
fchdir_out_of_chroot | leave a chroot by an open directory | the root was changed by pivot_root: nothing lies above it | chroot
# Namespaces
unshare_user | make a user namespace | seccomp, which lets no namespace be made or joined | root
unshare_mount | make a mount namespace | seccomp, which lets no namespace be made or joined | root
unshare_net | make a network namespace | seccomp, which lets no namespace be made or joined | root
unshare_cgroup | make a cgroup namespace | seccomp, which lets no namespace be made or joined | root
unshare_pid | make a pid namespace | seccomp, which lets no namespace be made or joined | root
unshare_time | make a time namespace | seccomp, which lets no namespace be made or joined | root
clone_user | clone(2) into a user namespace | seccomp, which lets no namespace be made or joined | root
clone_user_high_bits | the same with bits set that the kernel ignores | seccomp, which lets no namespace be made or joined | root
clone_mount_and_net | clone(2) into mount and network namespaces | seccomp, which lets no namespace be made or joined | root
clone3_user | clone3(2) into a user namespace | seccomp, which lets no namespace be made or joined | root
setns_mount | join the mount namespace of process 1 | seccomp, which lets no namespace be made or joined | root
setns_net | join the network namespace of process 1 | seccomp, which lets no namespace be made or joined | root
setns_host_process | join a namespace of a host process, as nsenter does | seccomp, which lets no namespace be made or joined
setns_by_pidfd | the same by pidfd | seccomp, which lets no namespace be made or joined
remap_user_ids | write its own uid_map | the kernel: it is written once, by whoever made the namespace
userns_then_mount | a user namespace, then a mount in it | seccomp, which lets no namespace be made or joined | root
# Processes of the host
signal_host_process | signal a process of the host | the pid namespace
trace_host_process | ptrace it | the pid namespace | root
read_host_memory | read its memory | the pid namespace
steal_host_fd | take a file descriptor from it | the pid namespace | root
compare_host_process | compare kernel objects with it | the pid namespace | root
host_root_by_proc | reach its root by /proc | the pid namespace | root
see_host_processes | see the host's processes | the pid namespace
overwrite_runtime | overwrite runc through /proc/PID/exe while it enters (CVE-2019-5736) | the runtime enters as a sealed copy or read-only
inherited_files | find a file that the runtime left open (CVE-2024-21626) | the runtime closes what it opened | root
leave_by_leaked_fd | walk to the host from such a file | the runtime closes what it opened; working directories below /proc are refused
# Files of the kernel
write_core_pattern | have the host run a program at a crash (core_pattern) | read-only and masked paths
write_modprobe | have it run one for a missing module | read-only and masked paths
write_panic | change kernel.panic | read-only and masked paths
write_overcommit | change vm.overcommit_memory | read-only and masked paths
write_hostname_file | change kernel.hostname | read-only and masked paths | root
write_ip_forward | change net.ipv4 forwarding | read-only and masked paths | root
write_binfmt | register an interpreter (binfmt_misc) | read-only and masked paths
trigger_sysrq | pull the magic SysRq | read-only and masked paths
write_irq | move interrupts | read-only and masked paths
write_bus | write to /proc/bus | read-only and masked paths
read_kcore | read memory by /proc/kcore | read-only and masked paths
read_keys | list keys by /proc/keys | read-only and masked paths | root
read_timer_list | read /proc/timer_list | read-only and masked paths | root
read_interrupts | read /proc/interrupts | read-only and masked paths | root
read_sched_debug | read /proc/sched_debug | read-only and masked paths
read_firmware | read /sys/firmware | read-only and masked paths | root
read_powercap | read power counters | read-only and masked paths
read_scsi | read /proc/scsi | read-only and masked paths
read_kernel_messages | read the kernel's messages (dmesg) | seccomp (no CAP_SYSLOG) | root
clear_kernel_messages | clear them | seccomp (no CAP_SYSLOG)
open_kmsg | open /dev/kmsg | a /dev of its own | root
open_dev_mem | open /dev/mem | a /dev of its own
write_sysfs | write to /sys/kernel | read-only and masked paths
write_sysfs_uevent | trigger a uevent | read-only and masked paths
write_uevent_helper | have the host run a program at a uevent | read-only and masked paths
lower_oom_score | be killed last when memory runs out | capabilities (no CAP_SYS_RESOURCE)
# Control groups
cgroup_release_agent | set a release agent | a cgroup namespace, mounted read-only
cgroup_notify | ask for its release notice | a cgroup namespace, mounted read-only | root
cgroup_raise_memory | raise its memory limit | a cgroup namespace, mounted read-only
cgroup_raise_pids | raise its process limit | a cgroup namespace, mounted read-only
cgroup_allow_devices | allow itself all devices | a cgroup namespace, mounted read-only
cgroup_leave | leave its cgroup | a cgroup namespace, mounted read-only
cgroup_make | make a cgroup | a cgroup namespace, mounted read-only
# Devices
make_block_device | make a node of the host's disk | a /dev of its own, the device cgroup, no CAP_MKNOD | root
make_char_device | make a node of the memory device | a /dev of its own, the device cgroup, no CAP_MKNOD | root
open_host_disk | open the host's disk | a /dev of its own, the device cgroup, no CAP_MKNOD | root
open_disk_by_sysfs | open it by number | a /dev of its own, the device cgroup, no CAP_MKNOD
open_kvm | open /dev/kvm | a /dev of its own, the device cgroup, no CAP_MKNOD | root
open_fuse | open /dev/fuse | a /dev of its own, the device cgroup, no CAP_MKNOD | root
open_tun | open /dev/net/tun | a /dev of its own, the device cgroup, no CAP_MKNOD | root
open_loop_control | open /dev/loop-control | a /dev of its own, the device cgroup, no CAP_MKNOD | root
open_console_of_host | open the host's console | a /dev of its own, the device cgroup, no CAP_MKNOD | root
io_ports | get at I/O ports by iopl(2) | seccomp (no CAP_SYS_RAWIO)
io_permissions | get at I/O ports by ioperm(2) | seccomp (no CAP_SYS_RAWIO)
push_terminal_input | type into the terminal of whoever started it (TIOCSTI) | no terminal of the host is in it
# The machine
load_module | load a kernel module by init_module(2) | capabilities, seccomp
load_module_file | the same by finit_module(2) | capabilities, seccomp
remove_module | remove a module | capabilities, seccomp
load_kernel | load another kernel by kexec_load(2) | capabilities, seccomp
load_kernel_file | the same by kexec_file_load(2) | capabilities, seccomp
reboot_machine | call reboot(2) | capabilities, seccomp
set_time | set the clock | capabilities, seccomp
set_time_of_day | set the clock by settimeofday(2) | capabilities, seccomp
adjust_clock | shift the clock by adjtimex(2) | capabilities, seccomp
swap_on | add swap | capabilities, seccomp
swap_off | take swap away | capabilities, seccomp
start_accounting | switch process accounting | capabilities, seccomp
read_quotas | use quotactl(2) | capabilities, seccomp
set_host_name | set the host name | capabilities, seccomp | root
set_domain_name | set the domain name | capabilities, seccomp | root
load_bpf | make a BPF map | capabilities, seccomp | root
open_perf | open a performance counter | capabilities, seccomp | root
open_userfaultfd | open a userfaultfd | seccomp | root
open_io_uring | open an io_uring | seccomp | root
open_by_handle | open the host's root by its file handle (the shocker) | capabilities (no CAP_DAC_READ_SEARCH), seccomp | root
watch_file_system | watch the file system by fanotify | capabilities, seccomp
add_key_to_keyring | add a key to a keyring | seccomp: keyrings have no namespace | root
search_keyring | ask for a keyring | seccomp: keyrings have no namespace | root
request_a_key | request a key, which can run a program on the host | seccomp: keyrings have no namespace | root
look_at_cookie | use lookup_dcookie(2) | capabilities, seccomp
real_time_priority | take real-time priority | capabilities, seccomp | root
higher_priority | take a higher priority | capabilities, seccomp | root
raise_open_files | raise the limit of open files | capabilities (no CAP_SYS_RESOURCE)
make_immutable | make a file immutable | capabilities (no CAP_LINUX_IMMUTABLE) | root
trusted_attribute | set a trusted attribute, as overlayfs reads | capabilities, seccomp | root
hang_up_terminal | hang up the terminal | capabilities, seccomp
# Privileges
gain_capability | take CAP_SYS_ADMIN | bounding set, no_new_privs
ambient_capability | make a capability ambient | bounding set, no_new_privs
clear_no_new_privs | clear no_new_privs | the kernel: it cannot be cleared
leave_seccomp | leave seccomp | the kernel: a filter stays
setuid_program | become root by a setuid program | no_new_privs | root
# Network
raw_socket | open a raw socket | a network namespace, no CAP_NET_RAW and CAP_NET_ADMIN | root
raw_socket6 | open a raw IPv6 socket | a network namespace, no CAP_NET_RAW and CAP_NET_ADMIN | root
packet_socket | open a packet socket | a network namespace, no CAP_NET_RAW and CAP_NET_ADMIN | root
vsock_socket | open a socket to the hypervisor (vsock) | seccomp: only unix, IP, netlink and packet sockets | root
alg_socket | open a kernel crypto socket (AF_ALG) | seccomp: only unix, IP, netlink and packet sockets
audit_socket | open an audit socket | seccomp (no CAP_AUDIT_WRITE) | root
add_route | add a route | a network namespace, no CAP_NET_RAW and CAP_NET_ADMIN
set_link_down | switch an interface | a network namespace, no CAP_NET_RAW and CAP_NET_ADMIN | root
change_firewall | make an nftables table | a network namespace, no CAP_NET_RAW and CAP_NET_ADMIN | root
old_firewall | reach iptables | a network namespace, no CAP_NET_RAW and CAP_NET_ADMIN | root
change_device_name | rename an interface | a network namespace, no CAP_NET_RAW and CAP_NET_ADMIN | root
host_loopback | reach a service on the host's 127.0.0.1 | a loopback interface of its own
host_loopback_by_gateway | the same by the gateway's address | it listens elsewhere
host_loopback_by_interface | the same by sending 127.0.0.1 out of the interface (CVE-2020-8558) | our nftables table drops it
link_local | reach a link-local service such as a cloud's metadata | our nftables table drops it
host_abstract_socket | reach an abstract unix socket of the host | the network namespace
host_shared_memory | reach System V shared memory of the host | the IPC namespace
# Exhaustion
fork_bomb | a fork bomb | the limit of processes (1024)
fill_shared_memory | fill /dev/shm | the size of the tmpfs (64 MiB)
fill_dev | fill /dev | the size of the tmpfs (64 MiB)
`;

function parse(text: string): Attempt[] {
  let area = '';
  return text.split('\n').flatMap((line): Attempt[] => {
    if (line.startsWith('# ')) area = line.slice(2);
    const [name, tries, stoppedBy, control] = line.split(' | ');
    if (name === undefined || tries === undefined || stoppedBy === undefined) return [];
    const proven = control === 'root' || control === 'chroot' ? { control } : {};
    return [{ name, area, tries, stoppedBy, ...proven } as Attempt];
  });
}

/** Attempts by what they attack. */
export const ATTEMPTS: readonly Attempt[] = parse(TABLE);
