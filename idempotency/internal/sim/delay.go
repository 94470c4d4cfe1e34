package sim

import (
	"hash/fnv"
	"time"
)

// residues makes instants distinct. The runtime fires timers of one instant in an order of
// its own, which differs between runs. What goes on from an instant of the cluster with
// timers of whole milliseconds, as the engine and Postgres have them, keeps the instant's
// residue modulo a millisecond; so no two instants get the same.
type residues struct {
	used [1e6 / 64]uint64
	n    int
}

// next returns the first instant from at on whose residue is new.
func (r *residues) next(at time.Duration) time.Duration {
	if r.n++; r.n > 9e5 { // The old ones are long over.
		*r = residues{}
	}
	for ; ; at++ {
		if i := at % 1e6; r.used[i/64]&(1<<(i%64)) == 0 {
			r.used[i/64] |= 1 << (i % 64)
			return at
		}
	}
}

// Instant returns a duration that is a little more than d, if need be, so that nothing else
// happens when it is over. Goroutines that may go on from one instant, as callers of one
// key do, have to draw d from streams of their own.
func (c *Cluster) Instant(d time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.instant(d)
}

func (c *Cluster) instant(d time.Duration) time.Duration {
	now := c.now()
	return c.residues.next(now+max(d, 1)) - now
}

// A Stream is a source of random numbers that has nothing in common with others but the
// seed: to leave one client or fault out changes nothing for the rest.
type Stream struct{ state uint64 }

// Stream returns the stream with the name.
func (c *Cluster) Stream(name string) *Stream {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return &Stream{mix(c.config.Seed ^ mix(h.Sum64()))}
}

// Uint64 implements rand.Source.
func (s *Stream) Uint64() uint64 {
	s.state += 0x9e3779b97f4a7c15
	return mix(s.state)
}

// Below returns a duration from 0 to most.
func (s *Stream) Below(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return time.Duration(s.Uint64() % uint64(most))
}

// mix is that of SplitMix64, https://prng.di.unimi.it/splitmix64.c.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
