#include "textflag.h"

// func handlers() (sent, fault, back uintptr)
TEXT ·handlers(SB),NOSPLIT,$0-24
	LEAQ	·caught(SB), AX
	MOVQ	AX, sent+0(FP)
	LEAQ	·faulted(SB), AX
	MOVQ	AX, fault+8(FP)
	LEAQ	·returned(SB), AX
	MOVQ	AX, back+16(FP)
	RET

// The handler of a signal: DI its number, SI its siginfo, DX where it struck. No Go runs here: the number goes to the pipe.
TEXT ·caught(SB),NOSPLIT|NOFRAME,$0-0
	SUBQ	$8, SP
	MOVQ	DI, 0(SP)
	MOVL	$1, AX // write
	MOVL	·catching+8(SB), DI
	MOVQ	SP, SI
	MOVL	$1, DX
	SYSCALL
	ADDQ	$8, SP
	RET

// One that the kernel sends for a fault of this program (si_code above 0) is Go's.
TEXT ·faulted(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	8(SI), AX
	CMPL	AX, $0
	JGT	ours
	JMP	·caught(SB)
ours:
	MOVQ	·catching+0(SB), AX
	JMP	AX

TEXT ·returned(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	$15, AX // rt_sigreturn
	SYSCALL
	INT	$3
