package schedule

import "time"

// openWindow lets the group wait for more calls, at most as long as maxBatchDelay.
func (p *pool) openWindow(g *group) {
	if g.timer == nil {
		g.closes = time.Now().Add(p.maxBatchDelay)
		g.timer = time.AfterFunc(p.maxBatchDelay, p.changed)
	}
}
