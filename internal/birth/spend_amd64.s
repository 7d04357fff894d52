#include "textflag.h"

// The offsets of struct state and struct op in arena.go.
#define ops	0
#define nops	8
#define at	16
#define status	24
#define regs	32
#define sigold	160
#define sigall	168
#define clock	176
#define born	184
#define told	200
#define errors	208
#define into	216
#define back	224

#define op_nr	0
#define op_regs	2
#define op_save	3
#define op_flags	4
#define op_skip	5
#define op_skip1	6
#define op_skip2	7
#define op_errno1	8
#define op_errno2	10
#define op_args	16

#define SYS_write	1
#define SYS_rt_sigprocmask	14
#define SYS_exit_group	231
#define SYS_setns	308
#define SYS_clone3	435
#define CLONE_NEWPID	0x20000000

// func spend(args, size, state uintptr) (pid uintptr)
//
// R12 state, R13 op, R15 number of the op.
TEXT ·spend(SB),NOSPLIT,$0-32
	MOVQ	state+16(FP), R12
	// No signal may reach the child before it is a program of its own: its handlers would run Go code.
	MOVL	$SYS_rt_sigprocmask, AX
	MOVL	$2, DI
	LEAQ	sigall(R12), SI
	LEAQ	sigold(R12), DX
	MOVL	$8, R10
	SYSCALL
	// Between these two calls the thread must not change: a PID namespace is a thread's to hand to its children.
	MOVQ	into(R12), DI
	TESTQ	DI, DI
	JZ	clone
	DECQ	DI
	MOVL	$CLONE_NEWPID, SI
	MOVL	$SYS_setns, AX
	SYSCALL
	TESTQ	AX, AX
	JNZ	parent
clone:
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVL	$SYS_clone3, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	child
parent:
	MOVQ	AX, pid+24(FP)
	MOVQ	into(R12), DI
	TESTQ	DI, DI
	JZ	unblock
	MOVQ	back(R12), DI
	MOVL	$CLONE_NEWPID, SI
	MOVL	$SYS_setns, AX
	SYSCALL
unblock:
	MOVL	$SYS_rt_sigprocmask, AX
	MOVL	$2, DI
	LEAQ	sigold(R12), SI
	MOVL	$0, DX
	MOVL	$8, R10
	SYSCALL
	RET

child:
	JMP	·work(SB)

// func seed() (start, end uintptr)
TEXT ·seed(SB),NOSPLIT,$0-16
	LEAQ	·sprout(SB), AX
	MOVQ	AX, start+0(FP)
	LEAQ	·workEnd(SB), AX
	MOVQ	AX, end+8(FP)
	RET

// Where a child begins that has left the runtime's program: its state is in the file behind the descriptor and goes to
// the address that seed.go gives them.
TEXT ·sprout(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	$9, AX // mmap
	MOVL	$0x10000000, DI
	MOVL	$0x4000000, SI
	MOVL	$3, DX // PROT_READ | PROT_WRITE
	MOVL	$0x11, R10 // MAP_SHARED | MAP_FIXED
	MOVL	$3, R8
	XORL	R9, R9
	SYSCALL
	MOVQ	$0x10000000, R12
	CMPQ	AX, R12
	JNE	barren
	MOVL	$3, AX // close
	MOVL	$3, DI
	SYSCALL
	JMP	·work(SB)
barren:
	MOVL	$127, DI
	MOVL	$SYS_exit_group, AX
	SYSCALL
	INT	$3

// func takeover() (start, end uintptr)
TEXT ·takeover(SB),NOSPLIT,$0-16
	LEAQ	·enter(SB), AX
	MOVQ	AX, start+0(FP)
	LEAQ	·workEnd(SB), AX
	MOVQ	AX, end+8(FP)
	RET

// Where a process begins that was taken over: its state is at the address that become.go gives it.
TEXT ·enter(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	$0x10000000, R12
	JMP	·work(SB)

// The loop. It is position independent and needs nothing but its state and a little stack.
TEXT ·work(SB),NOSPLIT|NOFRAME,$0-0
	SUBQ	$32, SP
	MOVQ	ops(R12), R13
	XORQ	R15, R15
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, born(R12)

next:
	CMPQ	R15, nops(R12)
	JCC	overrun
	MOVBLZX	op_flags(R13), BX
	TESTB	$16, BX
	JNZ	again
	MOVQ	R15, at(R12)

again:
	MOVBLZX	op_regs(R13), BX
	MOVQ	(op_args+0)(R13), DI
	MOVQ	(op_args+8)(R13), SI
	MOVQ	(op_args+16)(R13), DX
	MOVQ	(op_args+24)(R13), R10
	MOVQ	(op_args+32)(R13), R8
	MOVQ	(op_args+40)(R13), R9
	TESTB	$1, BX
	JZ	arg1
	MOVQ	regs(R12)(DI*8), DI
arg1:
	TESTB	$2, BX
	JZ	arg2
	MOVQ	regs(R12)(SI*8), SI
arg2:
	TESTB	$4, BX
	JZ	arg3
	MOVQ	regs(R12)(DX*8), DX
arg3:
	TESTB	$8, BX
	JZ	arg4
	MOVQ	regs(R12)(R10*8), R10
arg4:
	TESTB	$16, BX
	JZ	arg5
	MOVQ	regs(R12)(R8*8), R8
arg5:
	MOVWLZX	op_nr(R13), AX
	SYSCALL
	MOVQ	AX, BX
	MOVQ	clock(R12), CX
	TESTQ	CX, CX
	JZ	result
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	R15, DX
	SHLQ	$4, DX
	MOVQ	AX, 0(CX)(DX*1)
	MOVQ	BX, 8(CX)(DX*1)
result:
	MOVQ	BX, AX
	MOVBLZX	op_flags(R13), BX
	CMPQ	AX, $0xfffffffffffff001
	JCC	failed
	MOVBLZX	op_save(R13), CX
	TESTB	CX, CX
	JZ	skip
	MOVQ	AX, regs(R12)(CX*8)
skip:
	MOVBLZX	op_skip(R13), DX
	TESTB	$4, BX
	JZ	skipzero
	TESTQ	AX, AX
	JNZ	advance
	XORL	DX, DX
	JMP	advance
skipzero:
	TESTB	$8, BX
	JZ	advance
	TESTQ	AX, AX
	JZ	advance
	XORL	DX, DX
advance:
	INCQ	DX
	ADDQ	DX, R15
	SHLQ	$6, DX
	ADDQ	DX, R13
	JMP	next

failed:
	NEGQ	AX
	TESTB	$2, BX
	JZ	branch
	CMPQ	AX, $4 // EINTR
	JEQ	again
branch:
	MOVWLZX	op_errno1(R13), CX
	MOVBLZX	op_skip1(R13), DX
	CMPQ	AX, CX
	JEQ	advance
	MOVWLZX	op_errno2(R13), CX
	MOVBLZX	op_skip2(R13), DX
	CMPQ	AX, CX
	JEQ	advance
	XORL	DX, DX
	TESTB	$1, BX
	JNZ	advance
	JMP	tell

overrun:
	XORQ	AX, AX
tell:
	MOVQ	told(R12), R13
	TESTQ	R13, R13
	JNZ	complain
	// Told from the stack, which is the child's own: the state is shared with a second clone's parent.
	MOVQ	R15, 0(SP)
	MOVQ	AX, 8(SP)
	MOVQ	status(R12), DI
	MOVQ	SP, SI
	MOVL	$16, DX
	MOVL	$SYS_write, AX
	SYSCALL
	MOVL	$127, DI
	MOVL	$SYS_exit_group, AX
	SYSCALL
	INT	$3

complain:
	// No parent listens: the text of the step and that of the errno go to stderr. R13 becomes the step's complaint.
	LEAQ	(R15)(R15*2), R15
	SHLQ	$3, R15
	ADDQ	R15, R13
	CMPQ	AX, $133 // the last that has a text
	JLS	known
	XORQ	AX, AX
known:
	SHLQ	$4, AX
	MOVQ	errors(R12), R15
	ADDQ	AX, R15
	MOVL	$2, DI
	MOVQ	0(R13), SI
	MOVQ	8(R13), DX
	MOVL	$SYS_write, AX
	SYSCALL
	MOVL	$2, DI
	MOVQ	0(R15), SI
	MOVQ	8(R15), DX
	MOVL	$SYS_write, AX
	SYSCALL
	MOVQ	16(R13), DI
	MOVL	$SYS_exit_group, AX
	SYSCALL
	INT	$3

TEXT ·workEnd(SB),NOSPLIT|NOFRAME,$0-0
	INT	$3

// func ticks() uint64
TEXT ·ticks(SB),NOSPLIT,$0-8
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET

// func code() (start, end uintptr)
TEXT ·code(SB),NOSPLIT,$0-16
	LEAQ	·pause(SB), AX
	MOVQ	AX, start+0(FP)
	LEAQ	·pauseEnd(SB), AX
	MOVQ	AX, end+8(FP)
	RET

// The pause program: no Go, no stack frame, position independent. It blocks INT, TERM and CHLD, because a blocked
// signal reaches even the init of a PID namespace; then it waits for them, reaps its children on CHLD, and ends on the
// others. It names itself, since it was executed from a descriptor.
TEXT ·pause(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	$0x6573756170, AX // "pause"
	PUSHQ	AX
	MOVL	$157, AX // prctl(PR_SET_NAME)
	MOVL	$15, DI
	MOVQ	SP, SI
	SYSCALL
	MOVQ	$0x14002, AX // 1<<(INT-1) | 1<<(TERM-1) | 1<<(CHLD-1)
	PUSHQ	AX
	MOVL	$14, AX // rt_sigprocmask(SIG_BLOCK)
	XORL	DI, DI
	MOVQ	SP, SI
	XORL	DX, DX
	MOVL	$8, R10
	SYSCALL
wait:
	MOVL	$128, AX // rt_sigtimedwait
	MOVQ	SP, DI
	XORL	SI, SI
	XORL	DX, DX
	MOVL	$8, R10
	SYSCALL
	CMPL	AX, $17 // CHLD
	JEQ	reap
	CMPL	AX, $2 // INT
	JEQ	out
	CMPL	AX, $15 // TERM
	JNE	wait
out:
	XORL	DI, DI
	MOVL	$231, AX // exit_group
	SYSCALL
reap:
	MOVL	$61, AX // wait4(-1, NULL, WNOHANG)
	MOVQ	$-1, DI
	XORL	SI, SI
	MOVL	$1, DX
	XORL	R10, R10
	SYSCALL
	TESTL	AX, AX
	JGT	reap
	JMP	wait

TEXT ·pauseEnd(SB),NOSPLIT|NOFRAME,$0-0
	INT	$3
