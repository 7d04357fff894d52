/* The oracle: compiles profiles with libseccomp. A command a line on standard input:
 *   resolve NAME                      -> numbers on x86_64 x86 x32 aarch64 arm
 *   begin DEFAULT OPTIMIZE ARCH...    arches as libseccomp names them
 *   rule ACTION NAME [INDEX OP A B]...
 *   end                               -> BYTES, then as many bytes of BPF
 * Every command but rule is answered; a rule that libseccomp refuses is told on standard error.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum scmp_compare op(const char *s) {
	static const char *names[] = {"", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"};
	for (int i = 1; i < 8; i++)
		if (strcmp(s, names[i]) == 0)
			return (enum scmp_compare)i;
	exit(3);
}

int main(void) {
	static const uint32_t columns[] = {SCMP_ARCH_X86_64, SCMP_ARCH_X86, SCMP_ARCH_X32, SCMP_ARCH_AARCH64, SCMP_ARCH_ARM};
	scmp_filter_ctx ctx = NULL;
	char line[4096];
	while (fgets(line, sizeof line, stdin)) {
		char *save, *cmd = strtok_r(line, " \n", &save);
		if (strcmp(cmd, "resolve") == 0) {
			char *name = strtok_r(NULL, " \n", &save);
			for (int i = 0; i < 5; i++) {
				int nr = seccomp_syscall_resolve_name_arch(columns[i], name);
				if (columns[i] == SCMP_ARCH_X32 && nr >= 0)
					nr &= ~0x40000000;
				printf("%d ", nr);
			}
			printf("\n");
		} else if (strcmp(cmd, "begin") == 0) {
			uint32_t def = strtoul(strtok_r(NULL, " \n", &save), NULL, 10);
			uint32_t level = strtoul(strtok_r(NULL, " \n", &save), NULL, 10);
			ctx = seccomp_init(def);
			seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, level);
			int native = 0;
			for (char *a; (a = strtok_r(NULL, " \n", &save));) {
				uint32_t arch = seccomp_arch_resolve_name(a);
				int rc = seccomp_arch_add(ctx, arch);
				if (rc && rc != -EEXIST) {
					fprintf(stderr, "arch %s: %d\n", a, rc);
					return 2;
				}
				if (arch == seccomp_arch_native())
					native = 1;
			}
			if (!native)
				seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
		} else if (strcmp(cmd, "rule") == 0) {
			uint32_t act = strtoul(strtok_r(NULL, " \n", &save), NULL, 10);
			char *name = strtok_r(NULL, " \n", &save);
			struct scmp_arg_cmp args[6];
			unsigned n = 0;
			for (char *index; n < 6 && (index = strtok_r(NULL, " \n", &save)); n++) {
				args[n].arg = atoi(index);
				args[n].op = op(strtok_r(NULL, " \n", &save));
				args[n].datum_a = strtoull(strtok_r(NULL, " \n", &save), NULL, 10);
				args[n].datum_b = strtoull(strtok_r(NULL, " \n", &save), NULL, 10);
			}
			int nr = seccomp_syscall_resolve_name(name);
			int rc = nr == __NR_SCMP_ERROR ? -ENOSYS : seccomp_rule_add_array(ctx, act, nr, n, args);
			if (rc) {
				fprintf(stderr, "rule %s: %s\n", name, strerror(-rc));
				return 2;
			}
		} else if (strcmp(cmd, "end") == 0) {
			FILE *f = tmpfile();
			if (!f || seccomp_export_bpf(ctx, fileno(f)))
				return 2;
			long size = lseek(fileno(f), 0, SEEK_END);
			printf("%ld\n", size);
			lseek(fileno(f), 0, SEEK_SET);
			for (char c; read(fileno(f), &c, 1) == 1;)
				putchar(c);
			fclose(f);
			seccomp_release(ctx);
		}
		fflush(stdout);
	}
	return 0;
}
