// Attempts to escape from a container, one function each, as raw system calls so that no library stands between.
//
// `attempts NAME...` runs the named ones (`all`: every one), each in a child of its own, and prints for each the line
//     NAME <tab> refused|ESCAPED|UNSURE <tab> what the kernel said
// An attempt returns 0 when it got what it must not get, otherwise the errno of the refusal (see BLOCKED for results that
// are no errno). What must be known of the host comes by the environment: HOST_PID, HOST_FILE (a path that exists only on the
// host), HOST_SOCKET (a name in the abstract namespace), HOST_PORT (bound to the host's 127.0.0.1), GATEWAY, HOST_DISK
// (major:minor), LINK_LOCAL (address:port), IPC_KEY.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// The attempt went through the kernel but brought nothing: an empty file, a name that is not there.
#define BLOCKED 4000
#define SECONDS_FOR_ONE 8
#define TRY(call) ((long)(call) < 0 ? errno : 0)

static const char *host(const char *name) {
  const char *value = getenv(name);
  if (value == NULL) {
    fprintf(stderr, "%s is not set\n", name);
    exit(2);
  }
  return value;
}
static pid_t host_pid(void) { return atoi(host("HOST_PID")); }

static char place[64];
static const char *fresh(const char *name) {
  snprintf(place, sizeof place, "/tmp/attempt-%d-%s", getpid(), name);
  return place;
}
static const char *fresh_directory(void) {
  mkdir(fresh("dir"), 0700);
  return place;
}

static int write_to(const char *path, const char *text) {
  int fd = open(path, O_WRONLY);
  if (fd < 0) return errno;
  int result = TRY(write(fd, text, strlen(text)));
  close(fd);
  return result;
}
// Whether a file has content: a masked one is /dev/null.
static int has_content(const char *path) {
  char byte;
  int fd = open(path, O_RDONLY);
  if (fd < 0) return errno;
  long got = read(fd, &byte, 1);
  int result = got < 0 ? errno : got == 0 ? BLOCKED : 0;
  close(fd);
  return result;
}
static int has_entries(const char *path) {
  DIR *directory = opendir(path);
  if (directory == NULL) return errno;
  int entries = 0;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) entries += entry->d_name[0] != '.';
  closedir(directory);
  return entries > 0 ? 0 : BLOCKED;
}

// --- mounts ---
static int mount_tmpfs(void) { return TRY(mount("none", fresh_directory(), "tmpfs", 0, NULL)); }
static int mount_proc(void) { return TRY(mount("proc", fresh_directory(), "proc", 0, NULL)); }
static int mount_sysfs(void) { return TRY(mount("sysfs", fresh_directory(), "sysfs", 0, NULL)); }
static int mount_cgroup(void) {
  const char *at = fresh_directory();
  return mount("cgroup", at, "cgroup", 0, "rdma") == 0 || mount("none", at, "cgroup2", 0, NULL) == 0 ? 0 : errno;
}
static int mount_debugfs(void) { return TRY(mount("none", fresh_directory(), "debugfs", 0, NULL)); }
static int mount_overlay(void) {
  const char *at = fresh_directory();
  return TRY(mount("o", at, "overlay", 0, "lowerdir=/etc:/usr"));
}
static int bind_mount_over_itself(void) { return TRY(mount("/etc", "/etc", NULL, MS_BIND, NULL)); }
static int remount_root(void) { return TRY(mount(NULL, "/", NULL, MS_REMOUNT, NULL)); }
static int remount_proc_sys(void) { return TRY(mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL)); }
static int share_mounts(void) { return TRY(mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL)); }
static int new_mount_api(void) { return TRY(syscall(SYS_fsopen, "tmpfs", 0)); }
static int clone_mount_tree(void) { return TRY(syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */)); }
static int mount_attributes(void) {
  struct { uint64_t set, clear, propagation, userns; } attributes = {0, 1 /* MOUNT_ATTR_RDONLY */, 0, 0};
  return TRY(syscall(442, AT_FDCWD, "/proc/sys", 0, &attributes, sizeof attributes));
}
static int unmask_kcore(void) { return TRY(umount2("/proc/kcore", MNT_DETACH)); }
static int unmask_proc_sys(void) { return TRY(umount2("/proc/sys", MNT_DETACH)); }
static int unmount_proc(void) { return TRY(umount2("/proc", MNT_DETACH)); }
static int pivot(void) { return TRY(syscall(SYS_pivot_root, ".", ".")); }
static int chroot_twice(void) {
  const char *file = host("HOST_FILE");
  if (chdir("/") < 0) return errno;
  const char *at = fresh_directory();
  if (chroot(at) < 0) return errno;
  for (int up = 0; up < 64; up++)
    if (chdir("..") < 0) return errno;
  if (chroot(".") < 0) return errno;
  return TRY(access(file, F_OK));
}
static int fchdir_out_of_chroot(void) {
  const char *file = host("HOST_FILE");
  int root = open("/", O_RDONLY | O_DIRECTORY);
  if (root < 0) return errno;
  if (chroot(fresh_directory()) < 0) return errno;
  if (fchdir(root) < 0) return errno;
  for (int up = 0; up < 64; up++)
    if (chdir("..") < 0) return errno;
  return TRY(access(file + 1, F_OK));
}

// --- namespaces ---
static int unshare_user(void) { return TRY(unshare(CLONE_NEWUSER)); }
static int unshare_mount(void) { return TRY(unshare(CLONE_NEWNS)); }
static int unshare_net(void) { return TRY(unshare(CLONE_NEWNET)); }
static int unshare_cgroup(void) { return TRY(unshare(0x02000000)); }
static int unshare_pid(void) { return TRY(unshare(CLONE_NEWPID)); }
static int unshare_time(void) { return TRY(unshare(0x80)); }
static int clone_with(unsigned long flags) {
  long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) _exit(0);
  if (pid < 0) return errno;
  waitpid(pid, NULL, 0);
  return 0;
}
static int clone_user(void) { return clone_with(CLONE_NEWUSER); }
static int clone_user_high_bits(void) { return clone_with(CLONE_NEWUSER | (1UL << 40)); }
static int clone_mount_and_net(void) { return clone_with(CLONE_NEWNS | CLONE_NEWNET); }
static int clone3_user(void) {
  uint64_t arguments[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
  long pid = syscall(435, arguments, sizeof arguments);
  if (pid == 0) _exit(0);
  if (pid < 0) return errno;
  waitpid(pid, NULL, 0);
  return 0;
}
static int join_namespace(const char *name) {
  char path[64];
  // Our own init's and that of the process which has the host's number: whatever can be opened is tried.
  snprintf(path, sizeof path, "/proc/1/ns/%s", name);
  int fd = open(path, O_RDONLY);
  if (fd < 0) return errno;
  return TRY(setns(fd, 0));
}
static int setns_mount(void) { return join_namespace("mnt"); }
static int setns_net(void) { return join_namespace("net"); }
static int setns_host_process(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/mnt", host_pid());
  int fd = open(path, O_RDONLY);
  if (fd < 0) return errno;
  return TRY(setns(fd, 0));
}
static int setns_by_pidfd(void) {
  int fd = syscall(434, host_pid(), 0);
  if (fd < 0) return errno;
  return TRY(setns(fd, CLONE_NEWNS));
}
static int remap_user_ids(void) { return write_to("/proc/self/uid_map", "0 0 4294967295"); }
static int userns_then_mount(void) {
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) return errno;
  return mount_tmpfs();
}

// --- processes of the host ---
static int signal_host_process(void) { return TRY(kill(host_pid(), 0)); }
static int trace_host_process(void) { return TRY(ptrace(PTRACE_SEIZE, host_pid(), 0, 0)); }
static int read_host_memory(void) {
  char byte;
  struct iovec mine = {&byte, 1}, theirs = {(void *)0x400000, 1};
  return TRY(process_vm_readv(host_pid(), &mine, 1, &theirs, 1, 0));
}
static int steal_host_fd(void) {
  int fd = syscall(434, host_pid(), 0);
  if (fd < 0) return errno;
  return TRY(syscall(438, fd, 0, 0));
}
static int compare_host_process(void) { return TRY(syscall(SYS_kcmp, getpid(), host_pid(), 0, 0, 0)); }
static int host_root_by_proc(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/root", host_pid());
  return TRY(access(path, F_OK));
}
static int see_host_processes(void) {
  DIR *directory = opendir("/proc");
  if (directory == NULL) return errno;
  int seen = 0;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
    if (atoi(entry->d_name) > 0) seen++;
  closedir(directory);
  // A container with this program has its init, this program, its child: the host has many more.
  return seen > 20 ? 0 : BLOCKED;
}
static int overwrite_runtime(void) {
  // CVE-2019-5736: whoever enters the container can be reached through /proc/PID/exe. Looked for over two seconds,
  // during which the test starts many execs.
  char path[300], target[300];
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  int found = BLOCKED;
  do {
    DIR *directory = opendir("/proc");
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
      if (atoi(entry->d_name) <= 1) continue;
      snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
      ssize_t length = readlink(path, target, sizeof target - 1);
      if (length <= 0) continue;
      target[length] = 0;
      if (strstr(target, "runc") == NULL && strstr(target, "crun") == NULL) continue;
      int handle = open(path, O_RDONLY | O_CLOEXEC);
      if (handle < 0) continue;
      char again[64];
      snprintf(again, sizeof again, "/proc/self/fd/%d", handle);
      for (int tries = 0; tries < 2000; tries++) {
        int writable = open(again, O_WRONLY);
        if (writable < 0) continue;
        struct stat info;
        // A copy of the runtime in memory may be written: it is nobody's program.
        int real = strstr(target, "memfd") == NULL && fstat(writable, &info) == 0 && info.st_nlink > 0;
        close(writable);
        if (real) found = 0;
        break;
      }
      close(handle);
    }
    if (directory != NULL) closedir(directory);
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (found != 0 && now.tv_sec - start.tv_sec < 3);
  return found;
}
static int inherited_files(void) {
  // CVE-2024-21626: what the runtime left open. Only the three standard streams are ours.
  char path[64], target[300];
  int found = BLOCKED;
  for (int fd = 3; fd < 1024; fd++) {
    snprintf(path, sizeof path, "/proc/1/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) continue;
    target[length] = 0;
    if (target[0] == '/') found = 0;
    fprintf(stderr, "init holds %s\n", target);
  }
  return found;
}
static int leave_by_leaked_fd(void) {
  char path[300];
  for (int fd = 3; fd < 64; fd++) {
    snprintf(path, sizeof path, "/proc/self/fd/%d/../../../../../../../../%s", fd, host("HOST_FILE"));
    if (access(path, F_OK) == 0) return 0;
  }
  return errno;
}

// --- the kernel's own files ---
static int write_core_pattern(void) { return write_to("/proc/sys/kernel/core_pattern", "|/tmp/escaped"); }
static int write_modprobe(void) { return write_to("/proc/sys/kernel/modprobe", "/tmp/escaped"); }
static int write_panic(void) { return write_to("/proc/sys/kernel/panic", "77"); }
static int write_overcommit(void) { return write_to("/proc/sys/vm/overcommit_memory", "2"); }
static int write_hostname_file(void) { return write_to("/proc/sys/kernel/hostname", "escaped"); }
static int write_ip_forward(void) { return write_to("/proc/sys/net/ipv4/conf/all/forwarding", "0"); }
static int write_binfmt(void) { return write_to("/proc/sys/fs/binfmt_misc/register", ":escaped:E::esc::/tmp/escaped:"); }
static int trigger_sysrq(void) { return write_to("/proc/sysrq-trigger", "h"); }
static int write_irq(void) { return write_to("/proc/irq/default_smp_affinity", "1"); }
static int write_bus(void) { return has_entries("/proc/bus/pci") ?: TRY(open("/proc/bus/pci/devices", O_WRONLY)); }
static int read_kcore(void) { return has_content("/proc/kcore"); }
static int read_keys(void) { return has_content("/proc/keys"); }
static int read_timer_list(void) { return has_content("/proc/timer_list"); }
static int read_interrupts(void) { return has_content("/proc/interrupts"); }
static int read_sched_debug(void) { return has_content("/proc/sched_debug"); }
static int read_firmware(void) { return has_entries("/sys/firmware"); }
static int read_powercap(void) { return has_entries("/sys/devices/virtual/powercap"); }
static int read_scsi(void) { return has_entries("/proc/scsi"); }
static int read_kernel_messages(void) {
  char text[64];
  return TRY(syscall(SYS_syslog, 3, text, sizeof text));
}
static int clear_kernel_messages(void) { return TRY(syscall(SYS_syslog, 5, NULL, 0)); }
static int open_kmsg(void) { return TRY(open("/dev/kmsg", O_RDONLY | O_NONBLOCK)); }
static int open_dev_mem(void) { return TRY(open("/dev/mem", O_RDONLY)); }
static int write_sysfs(void) { return write_to("/sys/kernel/mm/ksm/run", "0"); }
static int write_sysfs_uevent(void) { return write_to("/sys/class/mem/null/uevent", "add"); }
static int write_uevent_helper(void) { return write_to("/sys/kernel/uevent_helper", "/tmp/escaped"); }
static int lower_oom_score(void) { return write_to("/proc/self/oom_score_adj", "-900"); }

// --- cgroups ---
static int each_cgroup(const char *file, const char *text) {
  static const char *const controllers[] = {".", "memory", "rdma", "pids", "devices", "cpu", "unified", "systemd"};
  char path[128];
  int last = BLOCKED;
  for (size_t index = 0; index < sizeof controllers / sizeof *controllers; index++) {
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", controllers[index], file);
    int result = write_to(path, text);
    if (result == 0) return 0;
    if (result != ENOENT) last = result;
  }
  return last;
}
static int cgroup_release_agent(void) { return each_cgroup("release_agent", "/tmp/escaped"); }
static int cgroup_notify(void) { return each_cgroup("notify_on_release", "1"); }
static int cgroup_raise_memory(void) { return each_cgroup("memory.limit_in_bytes", "-1") && each_cgroup("memory.max", "max") ? errno : 0; }
static int cgroup_raise_pids(void) { return each_cgroup("pids.max", "max"); }
static int cgroup_allow_devices(void) { return each_cgroup("devices.allow", "a"); }
static int cgroup_leave(void) { return each_cgroup("cgroup.procs", "0"); }
static int cgroup_make(void) {
  return mkdir("/sys/fs/cgroup/memory/escaped", 0755) == 0 || mkdir("/sys/fs/cgroup/escaped", 0755) == 0 ? 0 : errno;
}

// --- devices ---
static dev_t host_disk(void) {
  unsigned int major_number = 0, minor_number = 0;
  sscanf(host("HOST_DISK"), "%u:%u", &major_number, &minor_number);
  return makedev(major_number, minor_number);
}
static int make_block_device(void) {
  const char *path = fresh("disk");
  int result = TRY(mknod(path, S_IFBLK | 0600, host_disk()));
  unlink(path);
  return result;
}
static int make_char_device(void) {
  const char *path = fresh("mem");
  int result = TRY(mknod(path, S_IFCHR | 0600, makedev(1, 1)));
  unlink(path);
  return result;
}
static int open_host_disk(void) {
  static const char *const disks[] = {"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/xvda", "/dev/dm-0", "/dev/loop0"};
  for (size_t index = 0; index < sizeof disks / sizeof *disks; index++)
    if (open(disks[index], O_RDONLY) >= 0) return 0;
  return errno;
}
static int open_disk_by_sysfs(void) {
  char path[64];
  snprintf(path, sizeof path, "/dev/block/%s", host("HOST_DISK"));
  return TRY(open(path, O_RDONLY));
}
static int open_kvm(void) { return TRY(open("/dev/kvm", O_RDWR)); }
static int open_fuse(void) { return TRY(open("/dev/fuse", O_RDWR)); }
static int open_tun(void) { return TRY(open("/dev/net/tun", O_RDWR)); }
static int open_loop_control(void) { return TRY(open("/dev/loop-control", O_RDWR)); }
static int open_console_of_host(void) { return TRY(open("/dev/tty0", O_RDWR)); }
static int io_ports(void) { return TRY(syscall(SYS_iopl, 3)); }
static int io_permissions(void) { return TRY(syscall(SYS_ioperm, 0x80, 1, 1)); }
static int push_terminal_input(void) {
  char letter = '#';
  for (int fd = 0; fd < 3; fd++)
    if (ioctl(fd, TIOCSTI, &letter) == 0) return 0;
  int refused = errno;
  int terminal = open("/dev/tty", O_RDWR);
  return terminal < 0 ? refused : TRY(ioctl(terminal, TIOCSTI, &letter));
}

// --- system calls that change or look into the machine ---
static int load_module(void) { return TRY(syscall(SYS_init_module, "", 0, "")); }
static int load_module_file(void) {
  int fd = open("/proc/self/exe", O_RDONLY);
  int result = TRY(syscall(SYS_finit_module, fd, "", 0));
  // The kernel looked at the file: the call itself was let through.
  return result == ENOEXEC || result == EINVAL ? 0 : result;
}
static int remove_module(void) {
  int result = TRY(syscall(SYS_delete_module, "heptad_no_such", O_NONBLOCK));
  return result == ENOENT ? 0 : result;
}
static int load_kernel(void) { return TRY(syscall(SYS_kexec_load, 0, 0, NULL, 0)); }
static int load_kernel_file(void) { return TRY(syscall(SYS_kexec_file_load, -1, -1, 0, "", 4)); }
static int reboot_machine(void) { return TRY(syscall(SYS_reboot, 0xfee1dead, 672274793, 0 /* only: Ctrl-Alt-Del off */, NULL)); }
static int set_time(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return TRY(clock_settime(CLOCK_REALTIME, &now));
}
static int set_time_of_day(void) { return TRY(syscall(SYS_settimeofday, NULL, &(int[2]){0, 0})); }
static int adjust_clock(void) {
  struct timex change = {.modes = ADJ_SETOFFSET | ADJ_NANO};
  return TRY(adjtimex(&change));
}
static int swap_on(void) { return TRY(syscall(SYS_swapon, "/etc/passwd", 0)); }
static int swap_off(void) { return TRY(syscall(SYS_swapoff, "/etc/passwd")); }
static int start_accounting(void) { return TRY(syscall(SYS_acct, NULL)); }
static int read_quotas(void) { return TRY(syscall(SYS_quotactl, 0x80000100 /* Q_SYNC */, NULL, 0, NULL)); }
static int set_host_name(void) { return TRY(sethostname("escaped", 7)); }
static int set_domain_name(void) { return TRY(syscall(SYS_setdomainname, "escaped", 7)); }
static int load_bpf(void) {
  struct { uint32_t type, key, value, entries, flags; } map = {2, 4, 4, 1, 0};
  return TRY(syscall(SYS_bpf, 0 /* BPF_MAP_CREATE */, &map, sizeof map));
}
static int open_perf(void) {
  struct { uint32_t type, size; uint64_t rest[15]; } event = {1, 128, {0}};
  return TRY(syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
}
static int open_userfaultfd(void) { return TRY(syscall(SYS_userfaultfd, O_CLOEXEC)); }
static int open_io_uring(void) {
  char parameters[120] = {0};
  return TRY(syscall(425, 4, parameters));
}
static int open_by_handle(void) {
  // The "shocker": inode 2 is the root of an ext4, whatever mount namespace asks.
  struct { struct file_handle head; uint32_t body[2]; } handle = {{8, 1}, {2, 0}};
  int at = open("/etc", O_RDONLY);
  int result = TRY(syscall(SYS_open_by_handle_at, at, &handle, O_RDONLY));
  return result == ESTALE ? 0 : result;
}
static int watch_file_system(void) { return TRY(syscall(SYS_fanotify_init, 0x0c, O_RDONLY)); }
static int add_key_to_keyring(void) { return TRY(syscall(SYS_add_key, "user", "heptad-escape", "x", 1, -3 /* session */)); }
static int search_keyring(void) { return TRY(syscall(SYS_keyctl, 0 /* get id */, -5 /* user session */, 0)); }
static int request_a_key(void) {
  int result = TRY(syscall(SYS_request_key, "user", "heptad-no-such", NULL, 0));
  return result == 126 /* ENOKEY: it looked */ ? 0 : result;
}
static int look_at_cookie(void) { char text[8]; return TRY(syscall(SYS_lookup_dcookie, 0UL, text, sizeof text)); }
static int real_time_priority(void) {
  struct sched_param parameter = {.sched_priority = 99};
  return TRY(sched_setscheduler(0, SCHED_FIFO, &parameter));
}
static int higher_priority(void) { return TRY(setpriority(PRIO_PROCESS, 0, -20)); }
static int raise_open_files(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_max += 1;
  return TRY(setrlimit(RLIMIT_NOFILE, &limit));
}
static int make_immutable(void) {
  int fd = open(fresh("file"), O_CREAT | O_RDWR, 0600), flags = 0;
  if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0) return errno;
  flags |= FS_IMMUTABLE_FL;
  int result = TRY(ioctl(fd, FS_IOC_SETFLAGS, &flags));
  flags &= ~FS_IMMUTABLE_FL;
  ioctl(fd, FS_IOC_SETFLAGS, &flags);
  unlink(place);
  return result;
}
static int trusted_attribute(void) {
  close(open(fresh("file"), O_CREAT | O_RDWR, 0600));
  int result = TRY(syscall(SYS_setxattr, place, "trusted.overlay.opaque", "y", 1, 0));
  unlink(place);
  return result;
}
static int hang_up_terminal(void) { return TRY(vhangup()); }

// --- privileges ---
static int gain_capability(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) < 0) return errno;
  data[0].effective |= 1u << CAP_SYS_ADMIN;
  data[0].permitted |= 1u << CAP_SYS_ADMIN;
  return TRY(syscall(SYS_capset, &header, data));
}
static int ambient_capability(void) { return TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0)); }
static int clear_no_new_privs(void) { return TRY(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)); }
static int leave_seccomp(void) { return TRY(prctl(PR_SET_SECCOMP, 0, 0, 0, 0)); }
static int setuid_program(void) {
  // A copy of this program with the setuid bit, started by an ordinary user: who is it then?
  const char *path = "/tmp/setuid-root";
  char buffer[65536];
  int from = open("/proc/self/exe", O_RDONLY), to = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0755);
  if (from < 0 || to < 0) return errno;
  for (ssize_t length; (length = read(from, buffer, sizeof buffer)) > 0;)
    if (write(to, buffer, length) != length) return errno;
  close(to);
  if (fchmodat(AT_FDCWD, path, 04755, 0) < 0 || chmod(path, 04755) < 0) return errno;
  pid_t child = fork();
  if (child == 0) {
    if (setgid(1000) < 0 || setuid(1000) < 0) _exit(9);
    execl(path, path, "whoami", (char *)NULL);
    _exit(9);
  }
  int status;
  waitpid(child, &status, 0);
  unlink(path);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : BLOCKED;
}

// --- network ---
static int raw_socket(void) { return TRY(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }
static int raw_socket6(void) { return TRY(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)); }
static int packet_socket(void) { return TRY(socket(AF_PACKET, SOCK_RAW, htons(3))); }
static int vsock_socket(void) { return TRY(socket(40, SOCK_STREAM, 0)); }
static int alg_socket(void) { return TRY(socket(38, SOCK_SEQPACKET, 0)); }
static int audit_socket(void) { return TRY(socket(AF_NETLINK, SOCK_RAW, 9)); }
static int netlink(int protocol, const void *message, size_t length) {
  int fd = socket(AF_NETLINK, SOCK_RAW, protocol);
  if (fd < 0) return errno;
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (sendto(fd, message, length, 0, (void *)&kernel, sizeof kernel) < 0) return errno;
  char buffer[512];
  ssize_t got = recv(fd, buffer, sizeof buffer, 0);
  close(fd);
  if (got < (ssize_t)sizeof(struct nlmsghdr)) return errno;
  struct nlmsghdr *header = (void *)buffer;
  if (header->nlmsg_type != NLMSG_ERROR) return 0;
  return -((struct nlmsgerr *)NLMSG_DATA(header))->error;
}
static int add_route(void) {
  struct {
    struct nlmsghdr head;
    struct rtmsg body;
    struct rtattr attribute;
    uint32_t index;
  } message = {{sizeof message, RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, 1, 0},
               {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT,
                .rtm_scope = RT_SCOPE_LINK, .rtm_type = RTN_UNICAST, .rtm_dst_len = 0},
               {8, RTA_OIF}, 1};
  return netlink(NETLINK_ROUTE, &message, sizeof message);
}
static int set_link_down(void) {
  struct { struct nlmsghdr head; struct ifinfomsg body; } message = {
      {sizeof message, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0}, {.ifi_index = 1, .ifi_change = 1}};
  return netlink(NETLINK_ROUTE, &message, sizeof message);
}
static int change_firewall(void) {
  // An nftables batch with one message: make table "heptad_escape".
  struct { struct nlmsghdr head; uint8_t family, version; uint16_t subsystem; } begin, end;
  struct { struct nlmsghdr head; uint8_t family, version; uint16_t resource; struct nlattr attribute; char name[16]; } table;
  memset(&begin, 0, sizeof begin);
  begin.head = (struct nlmsghdr){sizeof begin, 16, NLM_F_REQUEST, 1, 0};
  begin.subsystem = htons(10);
  end = begin;
  end.head.nlmsg_type = 17;
  end.head.nlmsg_seq = 3;
  memset(&table, 0, sizeof table);
  table.head = (struct nlmsghdr){sizeof table, (10 << 8) | 0, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, 2, 0};
  table.family = 2;
  table.attribute = (struct nlattr){4 + 14, 1};
  strcpy(table.name, "heptad_escape");
  char batch[sizeof begin + sizeof table + sizeof end];
  memcpy(batch, &begin, sizeof begin);
  memcpy(batch + sizeof begin, &table, sizeof table);
  memcpy(batch + sizeof begin + sizeof table, &end, sizeof end);
  return netlink(12 /* NETLINK_NETFILTER */, batch, sizeof batch);
}
static int old_firewall(void) {
  char table[84] = "filter";
  socklen_t length = sizeof table;
  int fd = socket(AF_INET, SOCK_RAW, 255);
  if (fd < 0) fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) return errno;
  int result = TRY(getsockopt(fd, 0, 64 /* IPT_SO_GET_INFO */, table, &length));
  return result == ENOPROTOOPT || result == ENOENT ? BLOCKED : result;
}
static int change_device_name(void) {
  char request[64] = "lo";
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  strcpy(request + 16, "escaped");
  return TRY(ioctl(fd, 0x8923 /* SIOCSIFNAME */, request));
}
static int reach(const char *address, int port) {
  struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_pton(AF_INET, address, &target.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct timeval wait = {2, 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  int result = TRY(connect(fd, (void *)&target, sizeof target));
  return result == EINPROGRESS ? ETIMEDOUT : result;
}
static int host_loopback(void) { return reach("127.0.0.1", atoi(host("HOST_PORT"))); }
static int host_loopback_by_gateway(void) { return reach(host("GATEWAY"), atoi(host("HOST_PORT"))); }
static int host_loopback_by_interface(void) {
  // With the bridge's interface set to route loopback addresses (publishing needs it), this packet would arrive there.
  struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(atoi(host("HOST_PORT")))};
  inet_pton(AF_INET, "127.0.0.1", &target.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "eth0", 4) < 0) return errno;
  struct timeval wait = {2, 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  int result = TRY(connect(fd, (void *)&target, sizeof target));
  return result == EINPROGRESS ? ETIMEDOUT : result;
}
static int link_local(void) {
  char address[32];
  int port = 0;
  sscanf(host("LINK_LOCAL"), "%31[0-9.]:%d", address, &port);
  return reach(address, port);
}
static int host_abstract_socket(void) {
  struct sockaddr_un target = {.sun_family = AF_UNIX};
  const char *name = host("HOST_SOCKET");
  memcpy(target.sun_path + 1, name, strlen(name));
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  return TRY(connect(fd, (void *)&target, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
}
static int host_shared_memory(void) { return TRY(shmget(atoi(host("IPC_KEY")), 1, 0)); }

// --- exhaustion: these must stop before the machine does ---
static int fork_bomb(void) {
  // Escaped when more processes than any sane limit can be made; whoever is made waits to be killed with its group.
  int made = 0, refused = 0;
  setpgid(0, 0);
  for (; made < 6000; made++) {
    pid_t child = fork();
    if (child == 0) {
      pause();
      _exit(0);
    }
    if (child < 0) {
      refused = errno;
      break;
    }
  }
  signal(SIGTERM, SIG_IGN);
  kill(0, SIGTERM);
  while (wait(NULL) > 0) continue;
  fprintf(stderr, "%d processes\n", made);
  return refused;
}
static int fill(const char *directory, long megabytes) {
  char path[128];
  static char block[1 << 20];
  memset(block, 'x', sizeof block);
  snprintf(path, sizeof path, "%s/fill-%d", directory, getpid());
  int fd = open(path, O_CREAT | O_WRONLY, 0600), refused = 0;
  if (fd < 0) return errno;
  for (long count = 0; count < megabytes && refused == 0; count++)
    if (write(fd, block, sizeof block) != sizeof block) refused = errno ? errno : ENOSPC;
  unlink(path);
  close(fd);
  return refused;
}
static int fill_shared_memory(void) { return fill("/dev/shm", 256); }
static int fill_dev(void) { return fill("/dev", 256); }
static int fill_root(void) { return fill("/tmp", 512); }

static const struct attempt {
  const char *name;
  int (*run)(void);
} attempts[] = {
#define A(function) {#function, function}
    A(mount_tmpfs), A(mount_proc), A(mount_sysfs), A(mount_cgroup), A(mount_debugfs), A(mount_overlay),
    A(bind_mount_over_itself), A(remount_root), A(remount_proc_sys), A(share_mounts), A(new_mount_api),
    A(clone_mount_tree), A(mount_attributes), A(unmask_kcore), A(unmask_proc_sys), A(unmount_proc), A(pivot),
    A(chroot_twice), A(fchdir_out_of_chroot), A(unshare_user), A(unshare_mount), A(unshare_net), A(unshare_cgroup),
    A(unshare_pid), A(unshare_time), A(clone_user), A(clone_user_high_bits), A(clone_mount_and_net), A(clone3_user),
    A(setns_mount), A(setns_net), A(setns_host_process), A(setns_by_pidfd), A(remap_user_ids), A(userns_then_mount),
    A(signal_host_process), A(trace_host_process), A(read_host_memory), A(steal_host_fd), A(compare_host_process),
    A(host_root_by_proc), A(see_host_processes), A(overwrite_runtime), A(inherited_files), A(leave_by_leaked_fd),
    A(write_core_pattern), A(write_modprobe), A(write_panic), A(write_overcommit), A(write_hostname_file),
    A(write_ip_forward), A(write_binfmt), A(trigger_sysrq), A(write_irq), A(write_bus), A(read_kcore), A(read_keys),
    A(read_timer_list), A(read_interrupts), A(read_sched_debug), A(read_firmware), A(read_powercap), A(read_scsi),
    A(read_kernel_messages), A(clear_kernel_messages), A(open_kmsg), A(open_dev_mem), A(write_sysfs),
    A(write_sysfs_uevent), A(write_uevent_helper), A(lower_oom_score), A(cgroup_release_agent), A(cgroup_notify),
    A(cgroup_raise_memory), A(cgroup_raise_pids), A(cgroup_allow_devices), A(cgroup_leave), A(cgroup_make),
    A(make_block_device), A(make_char_device), A(open_host_disk), A(open_disk_by_sysfs), A(open_kvm), A(open_fuse),
    A(open_tun), A(open_loop_control), A(open_console_of_host), A(io_ports), A(io_permissions),
    A(push_terminal_input), A(load_module), A(load_module_file), A(remove_module), A(load_kernel),
    A(load_kernel_file), A(reboot_machine), A(set_time), A(set_time_of_day), A(adjust_clock), A(swap_on),
    A(swap_off), A(start_accounting), A(read_quotas), A(set_host_name), A(set_domain_name), A(load_bpf),
    A(open_perf), A(open_userfaultfd), A(open_io_uring), A(open_by_handle), A(watch_file_system),
    A(add_key_to_keyring), A(search_keyring), A(request_a_key), A(look_at_cookie), A(real_time_priority),
    A(higher_priority), A(raise_open_files), A(make_immutable), A(trusted_attribute), A(hang_up_terminal),
    A(gain_capability), A(ambient_capability), A(clear_no_new_privs), A(leave_seccomp), A(setuid_program),
    A(raw_socket), A(raw_socket6), A(packet_socket), A(vsock_socket), A(alg_socket), A(audit_socket), A(add_route),
    A(set_link_down), A(change_firewall), A(old_firewall), A(change_device_name), A(host_loopback),
    A(host_loopback_by_gateway), A(host_loopback_by_interface), A(link_local), A(host_abstract_socket),
    A(host_shared_memory), A(fork_bomb), A(fill_shared_memory), A(fill_dev), A(fill_root),
};

static void attempt(const struct attempt *which) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    alarm(SECONDS_FOR_ONE);
    errno = 0;
    // Two bytes would not fit an exit code: the result goes through a pipe that is our standard output.
    int result = which->run();
    if (result == 0) printf("%s\tESCAPED\t-\n", which->name);
    else printf("%s\trefused\t%s\n", which->name, result == BLOCKED ? "nothing there" : strerrorname_np(result));
    fflush(stdout);
    _exit(0);
  }
  if (child < 0) {
    printf("%s\tUNSURE\tcannot fork: %s\n", which->name, strerrorname_np(errno));
    return;
  }
  int status;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFSIGNALED(status)) {
    // Death by the filter is a refusal, and so is waiting in vain for an answer.
    const char *why = WTERMSIG(status) == SIGSYS ? "killed by seccomp" : WTERMSIG(status) == SIGALRM ? "no answer" : NULL;
    if (why != NULL) printf("%s\trefused\t%s\n", which->name, why);
    else printf("%s\tUNSURE\tkilled by signal %d\n", which->name, WTERMSIG(status));
  } else if (WEXITSTATUS(status) != 0) {
    printf("%s\tUNSURE\texit code %d\n", which->name, WEXITSTATUS(status));
  }
}

int main(int count, char **names) {
  // Started through the setuid copy of setuid_program.
  if (count == 2 && strcmp(names[1], "whoami") == 0) return geteuid() == 0 ? 0 : 1;
  const size_t known = sizeof attempts / sizeof *attempts;
  for (int index = 1; index < count; index++) {
    int found = 0;
    for (size_t which = 0; which < known; which++) {
      if (strcmp(names[index], attempts[which].name) != 0 && strcmp(names[index], "all") != 0) continue;
      found = 1;
      attempt(&attempts[which]);
    }
    if (!found) printf("%s\tUNSURE\tno such attempt\n", names[index]);
  }
  return 0;
}
