// Seeded applies each of the bugs beside it to a copy of the tree, and runs the layers of
// the proof on it: two of simulation, model and chaos have to find it, and one of them has
// to be the simulation. README.md says which fault shows which bug.
//
// It ends with one line of figures, and with status 1 over a bug that is not found.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// enough is how many layers have to find a bug.
const enough = 2

// options are the flags.
type options struct {
	check, tests, all bool
	bugs, layers      *regexp.Regexp
	seeds             int
	chaos             time.Duration
	logs              string
}

func main() {
	var o options
	pattern, which := "", ""
	flag.BoolVar(&o.check, "check", false, "only say whether the patches apply and compile")
	flag.BoolVar(&o.tests, "tests", false, "run the tests that the patches name in place of the layers")
	flag.BoolVar(&o.all, "all", false, "run all layers, also once two have found a bug")
	flag.StringVar(&pattern, "run", "", "a pattern of the names of the bugs to run")
	flag.StringVar(&which, "layers", "", "a pattern of the names of the layers to run: simulation, model, chaos")
	flag.IntVar(&o.seeds, "seeds", 1000, "how many worlds the simulation may need")
	flag.DurationVar(&o.chaos, "chaos", 90*time.Second, "how long chaos may need")
	flag.StringVar(&o.logs, "logs", "", "a directory for what the layers say")
	flag.Parse()
	o.bugs, o.layers = regexp.MustCompile(pattern), regexp.MustCompile(which)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) //nolint:forbidigo // This is main.
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "seeded:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	root, err := rootOf(ctx)
	if err != nil {
		return err
	}
	bugs, err := load(root, o.bugs)
	if err != nil {
		return err
	}
	switch {
	case o.check:
		return checkAll(ctx, root, bugs)
	case o.tests:
		return each(ctx, root, bugs, func(tree string, b bug) error { return b.runTests(ctx, tree) })
	}
	return prove(ctx, o, root, bugs)
}

// each does something with a tree for each bug that has it.
func each(ctx context.Context, root string, bugs []bug, do func(tree string, b bug) error) error {
	var faults []error
	for _, b := range bugs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := inTree(ctx, root, func(tree string) error {
			if err := b.apply(ctx, tree); err != nil {
				return err
			}
			if err := b.compile(ctx, tree, nil); err != nil {
				return err
			}
			return do(tree, b)
		})
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", b.name, err))
		}
	}
	return errors.Join(faults...)
}

// checkAll says which patches no longer apply or compile.
func checkAll(ctx context.Context, root string, bugs []bug) error {
	var faults []error
	for _, b := range bugs {
		if err := b.check(ctx, root); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", b.name, err))
		}
	}
	return errors.Join(faults...)
}

// prove runs the layers on each bug, and before its first one also where there is none.
func prove(ctx context.Context, o options, root string, bugs []bug) error {
	start := time.Now()
	caught, found := map[string]int{}, 0
	err := inTree(ctx, root, func(clean string) error {
		layers := slices.DeleteFunc(layersOf(o), func(l layer) bool { return !o.layers.MatchString(l.name) })
		sound := map[string]error{}
		return each(ctx, root, bugs, func(tree string, b bug) error {
			fmt.Printf("%s: %s\n", b.name, b.text)
			var by []string
			for _, l := range layers {
				if len(by) >= enough && !o.all {
					break
				}
				if _, known := sound[l.name]; !known {
					sound[l.name] = l.isSound(ctx, o, clean)
				}
				if sound[l.name] != nil {
					return sound[l.name]
				}
				r, err := l.on(ctx, o, tree, b)
				if err != nil {
					return err
				}
				fmt.Println("  ", r)
				if r.violation != "" {
					by = append(by, l.name)
					caught[l.name]++
				}
			}
			if len(by) < enough || by[0] != simulation {
				return fmt.Errorf("not found by two layers of which one is the simulation, but by %q", by)
			}
			found++
			return nil
		})
	})
	fmt.Printf("seeded: %d bugs, %d caught by two layers: %d by simulation, %d by the model, %d by chaos, %.0f s\n",
		len(bugs), found, caught[simulation], caught[model], caught[chaos], time.Since(start).Seconds())
	return err
}
