package schedule

import "time"

// openWindow lets the queue wait for more calls, at most as long as maxBatchDelay.
func (p *pool) openWindow(q *workerQueue) {
	if q.timer == nil {
		q.closes = time.Now().Add(p.maxBatchDelay)
		q.timer = time.AfterFunc(p.maxBatchDelay, p.changed)
	}
}
