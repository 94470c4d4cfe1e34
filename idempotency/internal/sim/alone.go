package sim

import (
	"runtime"
	"runtime/debug"
)

// Alone makes the order in which goroutines run a matter of the program: one thread runs
// them, and the garbage collector does not stop them in the middle. A test's main calls it
// once, and Collect between two histories.
func Alone() {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
}

// Collect collects garbage once there is much of it.
func Collect() {
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); m.HeapAlloc > 256<<20 {
		runtime.GC()
	}
}
