package main

import "github.com/KimMachineGun/automemlimit/memlimit"

// How much of the memory the garbage collector keeps the process within: of its container's,
// and where that has no limit of the machine's, which others use too.
const (
	shareOfContainer = 0.9
	shareOfMachine   = 0.5
)

// limitMemory returns the limit in bytes that the garbage collector heeds from now on. It is
// GOMEMLIMIT where that is set.
func limitMemory() (int64, error) {
	return memlimit.Set(memlimit.WithRatio(1), memlimit.WithProvider(memlimit.ApplyFallback(
		memlimit.ApplyRatio(memlimit.FromCgroup, shareOfContainer),
		memlimit.ApplyRatio(memlimit.FromSystem, shareOfMachine),
	)))
}
