#include "textflag.h"

// func handlers() (sent, fault, back uintptr)
TEXT ·handlers(SB),NOSPLIT,$0-24
	MOVD	$·caught(SB), R0
	MOVD	R0, sent+0(FP)
	MOVD	$·faulted(SB), R0
	MOVD	R0, fault+8(FP)
	MOVD	$·returned(SB), R0
	MOVD	R0, back+16(FP)
	RET

// The handler of a signal: R0 its number, R1 its siginfo, R2 where it struck. No Go runs here: the number goes to the pipe.
TEXT ·caught(SB),NOSPLIT|NOFRAME,$0-0
	SUB	$16, RSP
	MOVD	R0, 0(RSP)
	MOVW	·catching+8(SB), R0
	MOVD	RSP, R1
	MOVD	$1, R2
	MOVD	$64, R8 // write
	SVC
	ADD	$16, RSP
	RET

// One that the kernel sends for a fault of this program (si_code above 0) is Go's.
TEXT ·faulted(SB),NOSPLIT|NOFRAME,$0-0
	MOVW	8(R1), R3
	CMPW	$0, R3
	BGT	ours
	B	·caught(SB)
ours:
	MOVD	·catching+0(SB), R3
	JMP	(R3)

TEXT ·returned(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	$139, R8 // rt_sigreturn
	SVC
	BRK
