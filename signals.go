package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// oneSignal is how long after the first signal another one is taken for the same: a
// terminal sends one to a whole process group, and a program in it may pass it on.
const oneSignal = 300 * time.Millisecond

// untilSignalled returns a context that ends with the first SIGINT or SIGTERM. The second
// one ends the process at once, with the exit code that shells give: 128 and its number.
func untilSignalled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		first := time.Now()
		cancel()
		for received := range signals {
			if time.Since(first) < oneSignal {
				continue
			}
			fmt.Fprintln(os.Stderr, "onceql: a second signal:", received)
			number, _ := received.(syscall.Signal)
			os.Exit(128 + int(number))
		}
	}()
	return ctx
}
