package schedule

import "time"

// openWindow lets the group wait for more calls, at most as long as maxBatchDelay.
func (p *pool) openWindow(g *group) {
	if g.timer != nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(p.maxBatchDelay, func() {
		p.work.L.Lock()
		defer p.work.L.Unlock()
		if g.timer == timer {
			g.timer, g.timedOut = nil, true
			p.wake()
		}
	})
	g.timer = timer
}

func (p *pool) broadcast() {
	p.work.Broadcast()
	p.spare.Broadcast()
}
