package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

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

const (
	// collectedEvery is how long nothing has to be collected until a heap that has grown is.
	collectedEvery = 20 * time.Second
	// grown is how many bytes more than after the last time are worth it.
	grown = 16 << 20
)

// returnMemory gives memory back that a burst took, until ctx ends. Go does so when it
// collects, and without traffic it collects only every two minutes.
func returnMemory(ctx context.Context) {
	ticker := time.NewTicker(collectedEvery)
	defer ticker.Stop()
	cycles, least := measureHeap()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now, heap := measureHeap()
		if now == cycles && heap > least+grown {
			debug.FreeOSMemory()
			// What is left is what is needed.
			now, least = measureHeap()
		}
		cycles = now
	}
}

// measureHeap returns how often garbage was collected, and how many bytes the heap has from
// the operating system.
func measureHeap() (cycles, bytes uint64) {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64() + samples[2].Value.Uint64() + samples[3].Value.Uint64()
}
