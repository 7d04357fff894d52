/* Loads the BPF program on standard input into itself and makes i386's calls from 64-bit code, as int 0x80 allows:
 * caller NUMBER ARG... prints the result of i386's system call NUMBER.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
	static struct sock_filter code[4096];
	size_t n = fread(code, sizeof code[0], 4096, stdin);
	struct sock_fprog prog = {n, code};
	long a[3] = {0}, result;
	for (int i = 2; i < argc && i < 5; i++)
		a[i - 2] = strtol(argv[i], NULL, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog)) {
		perror("seccomp");
		return 1;
	}
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(strtol(argv[1], NULL, 0)), "b"(a[0]), "c"(a[1]), "d"(a[2]) : "memory", "r8", "r9", "r10", "r11");
	printf("%d\n", (int)result);
	return 0;
}
