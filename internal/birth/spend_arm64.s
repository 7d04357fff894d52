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

#define SYS_write	64
#define SYS_rt_sigprocmask	135
#define SYS_exit_group	94
#define SYS_setns	268
#define SYS_clone3	435
#define CLONE_NEWPID	0x20000000

// func spend(args, size, state uintptr) (pid uintptr)
//
// R19 state, R20 op, R21 number of the op, R22 its flags.
TEXT ·spend(SB),NOSPLIT,$0-32
	MOVD	state+16(FP), R19
	// No signal may reach the child before it is a program of its own: its handlers would run Go code.
	MOVD	$2, R0
	ADD	$sigall, R19, R1
	ADD	$sigold, R19, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigprocmask, R8
	SVC
	// Between these two calls the thread must not change: a PID namespace is a thread's to hand to its children.
	MOVD	into(R19), R0
	CBZ	R0, clone
	SUB	$1, R0, R0
	MOVD	$CLONE_NEWPID, R1
	MOVD	$SYS_setns, R8
	SVC
	CBNZ	R0, parent
clone:
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	$SYS_clone3, R8
	SVC
	CBZ	R0, child
parent:
	MOVD	R0, pid+24(FP)
	MOVD	into(R19), R0
	CBZ	R0, unblock
	MOVD	back(R19), R0
	MOVD	$CLONE_NEWPID, R1
	MOVD	$SYS_setns, R8
	SVC
unblock:
	MOVD	$2, R0
	ADD	$sigold, R19, R1
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigprocmask, R8
	SVC
	RET

child:
	B	·work(SB)

// func seed() (start, end uintptr)
TEXT ·seed(SB),NOSPLIT,$0-16
	MOVD	$·sprout(SB), R0
	MOVD	R0, start+0(FP)
	MOVD	$·workEnd(SB), R0
	MOVD	R0, end+8(FP)
	RET

// Where a child begins that has left the runtime's program: its state is in the file behind the descriptor and goes to
// the address that seed.go gives them.
TEXT ·sprout(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	$0x10000000, R0
	MOVD	$0x4000000, R1
	MOVD	$3, R2 // PROT_READ | PROT_WRITE
	MOVD	$0x11, R3 // MAP_SHARED | MAP_FIXED
	MOVD	$3, R4
	MOVD	$0, R5
	MOVD	$222, R8 // mmap
	SVC
	MOVD	$0x10000000, R19
	CMP	R19, R0
	BNE	barren
	MOVD	$3, R0
	MOVD	$57, R8 // close
	SVC
	B	·work(SB)
barren:
	MOVD	$127, R0
	MOVD	$SYS_exit_group, R8
	SVC
	BRK

// func takeover() (start, end uintptr)
TEXT ·takeover(SB),NOSPLIT,$0-16
	MOVD	$·enter(SB), R0
	MOVD	R0, start+0(FP)
	MOVD	$·workEnd(SB), R0
	MOVD	R0, end+8(FP)
	RET

// Where a process begins that was taken over: its state is at the address that become.go gives it.
TEXT ·enter(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	$0x10000000, R19
	B	·work(SB)

// The loop. It is position independent and needs nothing but its state and a little stack.
TEXT ·work(SB),NOSPLIT|NOFRAME,$0-0
	SUB	$32, RSP
	MOVD	ops(R19), R20
	MOVD	$0, R21
	MRS	CNTVCT_EL0, R9
	MOVD	R9, born(R19)

next:
	MOVD	nops(R19), R9
	CMP	R9, R21
	BHS	overrun
	MOVBU	op_flags(R20), R22
	TBNZ	$4, R22, again
	MOVD	R21, at(R19)

again:
	MOVBU	op_regs(R20), R9
	ADD	$regs, R19, R10
	MOVD	(op_args+0)(R20), R0
	MOVD	(op_args+8)(R20), R1
	MOVD	(op_args+16)(R20), R2
	MOVD	(op_args+24)(R20), R3
	MOVD	(op_args+32)(R20), R4
	MOVD	(op_args+40)(R20), R5
	TBZ	$0, R9, arg1
	MOVD	(R10)(R0<<3), R0
arg1:
	TBZ	$1, R9, arg2
	MOVD	(R10)(R1<<3), R1
arg2:
	TBZ	$2, R9, arg3
	MOVD	(R10)(R2<<3), R2
arg3:
	TBZ	$3, R9, arg4
	MOVD	(R10)(R3<<3), R3
arg4:
	TBZ	$4, R9, arg5
	MOVD	(R10)(R4<<3), R4
arg5:
	MOVHU	op_nr(R20), R8
	SVC
	MOVD	clock(R19), R9
	CBZ	R9, result
	MRS	CNTVCT_EL0, R10
	ADD	R21<<4, R9, R9
	MOVD	R10, 0(R9)
	MOVD	R0, 8(R9)
result:
	MOVBU	op_flags(R20), R22
	CMN	$4095, R0
	BHS	failed
	MOVBU	op_save(R20), R9
	CBZ	R9, skip
	ADD	$regs, R19, R10
	MOVD	R0, (R10)(R9<<3)
skip:
	MOVBU	op_skip(R20), R11
	TBZ	$2, R22, skipzero
	CBNZ	R0, advance
	MOVD	$0, R11
	B	advance
skipzero:
	TBZ	$3, R22, advance
	CBZ	R0, advance
	MOVD	$0, R11
advance:
	ADD	$1, R11, R11
	ADD	R11, R21, R21
	LSL	$6, R11, R11
	ADD	R11, R20, R20
	B	next

failed:
	NEG	R0, R0
	TBZ	$1, R22, branch
	CMP	$4, R0 // EINTR
	BEQ	again
branch:
	MOVHU	op_errno1(R20), R9
	MOVBU	op_skip1(R20), R11
	CMP	R9, R0
	BEQ	advance
	MOVHU	op_errno2(R20), R9
	MOVBU	op_skip2(R20), R11
	CMP	R9, R0
	BEQ	advance
	MOVD	$0, R11
	TBNZ	$0, R22, advance
	B	tell

overrun:
	MOVD	$0, R0
tell:
	MOVD	told(R19), R20
	CBNZ	R20, complain
	// Told from the stack, which is the child's own: the state is shared with a second clone's parent.
	MOVD	R21, 8(RSP)
	MOVD	R0, 16(RSP)
	MOVD	status(R19), R0
	ADD	$8, RSP, R1
	MOVD	$16, R2
	MOVD	$SYS_write, R8
	SVC
	MOVD	$127, R0
	MOVD	$SYS_exit_group, R8
	SVC
	BRK

complain:
	// No parent listens: the text of the step and that of the errno go to stderr. R20 becomes the step's complaint.
	MOVD	$24, R9
	MUL	R9, R21, R21
	ADD	R21, R20
	CMP	$133, R0 // the last that has a text
	BLS	known
	MOVD	$0, R0
known:
	LSL	$4, R0, R0
	MOVD	errors(R19), R21
	ADD	R0, R21
	MOVD	0(R20), R1
	MOVD	8(R20), R2
	MOVD	$2, R0
	MOVD	$SYS_write, R8
	SVC
	MOVD	0(R21), R1
	MOVD	8(R21), R2
	MOVD	$2, R0
	MOVD	$SYS_write, R8
	SVC
	MOVD	16(R20), R0
	MOVD	$SYS_exit_group, R8
	SVC
	BRK

TEXT ·workEnd(SB),NOSPLIT|NOFRAME,$0-0
	BRK

// func ticks() uint64
TEXT ·ticks(SB),NOSPLIT,$0-8
	MRS	CNTVCT_EL0, R0
	MOVD	R0, ret+0(FP)
	RET

// func code() (start, end uintptr)
TEXT ·code(SB),NOSPLIT,$0-16
	MOVD	$·pause(SB), R0
	MOVD	R0, start+0(FP)
	MOVD	$·pauseEnd(SB), R0
	MOVD	R0, end+8(FP)
	RET

// The pause program: no Go, no stack frame, position independent. It blocks INT, TERM and CHLD, because a blocked
// signal reaches even the init of a PID namespace; then it waits for them, reaps its children on CHLD, and ends on the
// others. It names itself, since it was executed from a descriptor.
TEXT ·pause(SB),NOSPLIT|NOFRAME,$0-0
	SUB	$32, RSP
	MOVD	$0x6573756170, R9 // "pause"
	MOVD	R9, 0(RSP)
	MOVD	$15, R0
	MOVD	RSP, R1
	MOVD	$167, R8 // prctl(PR_SET_NAME)
	SVC
	MOVD	$0x14002, R9 // 1<<(INT-1) | 1<<(TERM-1) | 1<<(CHLD-1)
	MOVD	R9, 16(RSP)
	MOVD	$0, R0
	ADD	$16, RSP, R1
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$135, R8 // rt_sigprocmask(SIG_BLOCK)
	SVC
wait:
	ADD	$16, RSP, R0
	MOVD	$0, R1
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$137, R8 // rt_sigtimedwait
	SVC
	CMPW	$17, R0 // CHLD
	BEQ	reap
	CMPW	$2, R0 // INT
	BEQ	out
	CMPW	$15, R0 // TERM
	BNE	wait
out:
	MOVD	$0, R0
	MOVD	$94, R8 // exit_group
	SVC
reap:
	MOVD	$-1, R0
	MOVD	$0, R1
	MOVD	$1, R2
	MOVD	$0, R3
	MOVD	$260, R8 // wait4(-1, NULL, WNOHANG)
	SVC
	CMPW	$0, R0
	BGT	reap
	B	wait

TEXT ·pauseEnd(SB),NOSPLIT|NOFRAME,$0-0
	BRK
