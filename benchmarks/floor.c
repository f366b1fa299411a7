/*
 * The floor: the least work that makes a network of N hosts, in C, with nothing but system calls.
 *
 *   floor N        builds and removes a star; prints "<seconds to build> <seconds to remove>"
 *   floor N PER    the same for a tree: a bridge for each PER hosts, all of these bridges on one more
 *
 * One network namespace for each host, one veth pair to a bridge, loopback and interface up, one IPv4 and one IPv6
 * address, in batches of 64 messages. It does what every builder has to do and keeps no record of anything.
 * Run it where it may make interfaces: `unshare -rn ./floor 100`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, GROUP = 7, FIRST = 100, TOP = 50000, BRIDGES = 50001, TRUNKS = 60000 };

static char buffer[1 << 17];
static size_t used;
static unsigned sequence;

static void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void *append(const void *data, size_t size) {
    void *place = buffer + used;
    if (data) memcpy(place, data, size); else memset(place, 0, size);
    used += (size + 3) & ~3u;
    return place;
}

static struct nlmsghdr *message(int kind, int flags, const void *body, size_t size) {
    struct nlmsghdr head = {.nlmsg_type = kind, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++sequence};
    struct nlmsghdr *place = append(&head, sizeof head);
    append(body, size);
    return place;
}

static void finish(struct nlmsghdr *head) { head->nlmsg_len = buffer + used - (char *)head; }

static struct rtattr *attribute(int kind, const void *data, size_t size) {
    struct rtattr head = {.rta_type = kind, .rta_len = RTA_LENGTH(size)};
    struct rtattr *place = append(&head, sizeof head);
    if (size) append(data, size);
    return place;
}

static void close_attribute(struct rtattr *place) { place->rta_len = buffer + used - (char *)place; }

static void number(int kind, unsigned value) { attribute(kind, &value, 4); }

/* Send the batch; only its last message, at `last`, is acknowledged, and every failure is. */
static void flush(int fd, struct nlmsghdr *last) {
    static char answer[1 << 16];
    last->nlmsg_flags |= NLM_F_ACK;
    if (send(fd, buffer, used, 0) < 0) fail("send");
    used = 0;
    for (unsigned seen = 0; seen != sequence;) {
        if (recv(fd, answer, sizeof answer, 0) < 0) fail("recv");
        struct nlmsghdr *head = (struct nlmsghdr *)answer;
        int code = *(int *)NLMSG_DATA(head);
        if (code) { errno = -code; fail("netlink"); }
        seen = head->nlmsg_seq;
    }
}

static int netlink(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) fail("socket");
    return fd;
}

static struct nlmsghdr *bridge(int index) {
    struct ifinfomsg link = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct nlmsghdr *head = message(RTM_NEWLINK, NLM_F_CREATE, &link, sizeof link);
    struct rtattr *info = attribute(IFLA_LINKINFO, NULL, 0);
    attribute(IFLA_INFO_KIND, "bridge", 7);
    close_attribute(info);
    finish(head);
    return head;
}

static void describe(const char *name) {
    attribute(IFLA_IFNAME, name, strlen(name) + 1);
    number(IFLA_GROUP, GROUP);
    number(IFLA_NUM_TX_QUEUES, 1);
    number(IFLA_NUM_RX_QUEUES, 1);
}

static struct nlmsghdr *veth(int host, int master, int netns) {
    char name[16];
    struct ifinfomsg link = {.ifi_index = FIRST + host, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct ifinfomsg peer = {.ifi_index = FIRST};
    struct nlmsghdr *head = message(RTM_NEWLINK, NLM_F_CREATE, &link, sizeof link);
    snprintf(name, sizeof name, "p%d", host);
    describe(name);
    number(IFLA_MASTER, master);
    struct rtattr *info = attribute(IFLA_LINKINFO, NULL, 0);
    attribute(IFLA_INFO_KIND, "veth", 5);
    struct rtattr *data = attribute(IFLA_INFO_DATA, NULL, 0);
    struct rtattr *other = attribute(VETH_INFO_PEER, &peer, sizeof peer);
    describe("eth0");
    number(IFLA_NET_NS_FD, netns);
    close_attribute(other);
    close_attribute(data);
    close_attribute(info);
    finish(head);
    return head;
}

static struct nlmsghdr *up(int index, int master) {
    struct ifinfomsg link = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct nlmsghdr *head = message(RTM_NEWLINK, 0, &link, sizeof link);
    if (master) number(IFLA_MASTER, master);
    finish(head);
    return head;
}

/* A bridge for each `per` hosts and, with more than one of them, a veth pair from each to a bridge above. */
static void switches(int fd, int count, int home) {
    if (count > 1) flush(fd, bridge(TOP));
    for (int each = 0; each < count; each++) flush(fd, bridge(BRIDGES + each));
    for (int each = 0; each < count && count > 1; each++) {
        char names[2][16];
        struct ifinfomsg link = {.ifi_index = TRUNKS + 2 * each, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
        struct ifinfomsg peer = {.ifi_index = TRUNKS + 2 * each + 1};
        struct nlmsghdr *head = message(RTM_NEWLINK, NLM_F_CREATE, &link, sizeof link);
        snprintf(names[0], 16, "d%d", each);
        snprintf(names[1], 16, "u%d", each);
        describe(names[0]);
        number(IFLA_MASTER, BRIDGES + each);
        struct rtattr *info = attribute(IFLA_LINKINFO, NULL, 0);
        attribute(IFLA_INFO_KIND, "veth", 5);
        struct rtattr *data = attribute(IFLA_INFO_DATA, NULL, 0);
        struct rtattr *other = attribute(VETH_INFO_PEER, &peer, sizeof peer);
        describe(names[1]);
        number(IFLA_NET_NS_FD, home);
        close_attribute(other);
        close_attribute(data);
        close_attribute(info);
        finish(head);
        flush(fd, up(TRUNKS + 2 * each + 1, TOP));
    }
}

static struct nlmsghdr *address(int family, const unsigned char *ip, int size, int prefix) {
    struct ifaddrmsg body = {.ifa_family = family, .ifa_prefixlen = prefix, .ifa_index = FIRST,
                             .ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0};
    struct nlmsghdr *head = message(RTM_NEWADDR, NLM_F_CREATE, &body, sizeof body);
    attribute(IFA_LOCAL, ip, size);
    attribute(IFA_ADDRESS, ip, size);
    finish(head);
    return head;
}

static void inside(int netns, int home, int host) {
    unsigned char ip4[4] = {10, 0, host >> 8, host & 255}, ip6[16] = {0xfd, [14] = host >> 8, [15] = host & 255};
    if (setns(netns, CLONE_NEWNET)) fail("setns");
    int fd = netlink();
    if (setns(home, CLONE_NEWNET)) fail("setns");
    up(1, 0);
    up(FIRST, 0);
    address(AF_INET, ip4, 4, 16);
    flush(fd, address(AF_INET6, ip6, 16, 64));
    close(fd);
}

int main(int argc, char **argv) {
    int hosts = argc > 1 ? atoi(argv[1]) : 100, per = argc > 2 ? atoi(argv[2]) : hosts;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    double begun = now();
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), fd = netlink();
    int *netns = calloc(hosts + 1, sizeof *netns);
    if (home < 0) fail("open");
    for (int host = 1; host <= hosts; host++) {
        if (unshare(CLONE_NEWNET)) fail("unshare");
        if ((netns[host] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0) fail("open");
    }
    if (setns(home, CLONE_NEWNET)) fail("setns");
    switches(fd, (hosts + per - 1) / per, home);
    for (int host = 1; host <= hosts; host++) {
        struct nlmsghdr *last = veth(host, BRIDGES + (host - 1) / per, netns[host]);
        if (host % BATCH == 0 || host == hosts) flush(fd, last);
    }
    for (int host = 1; host <= hosts; host++) inside(netns[host], home, host);
    double built = now();
    struct ifinfomsg none = {0};
    struct nlmsghdr *last = message(RTM_DELLINK, 0, &none, sizeof none);
    number(IFLA_GROUP, GROUP);
    finish(last);
    flush(fd, last);
    for (int host = 1; host <= hosts; host++) close(netns[host]);
    printf("%.6f %.6f\n", built - begun, now() - built);
    return 0;
}
