package db

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var errLeft = errors.New("the primary is another server now")

// A link is a connection of the pools on its way through the network, from before it is
// dialled until it is closed.
type link struct {
	net.Conn
	cluster *Cluster
	host    *host
	// dialling ends the dial.
	dialling context.CancelCauseFunc
	closing  sync.Once
}

// lead makes a connection that begins one to the primary, which it leaves when that is
// another. Before a primary is known the URL's order holds.
func (c *Cluster) lead(config *pgx.ConnConfig) {
	h := c.leader()
	if h != nil {
		config.Host, config.Port, config.TLSConfig, config.Fallbacks = h.config.Host, h.config.Port, h.config.TLSConfig, h.config.Fallbacks
	}
	config.DialFunc = c.linked(h, config.DialFunc)
}

func (c *Cluster) leader() *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.primary
}

// Prefer changes the configuration of a connection to the same servers so that it tries
// the primary first, as far as Check has found one, and goes through a pooler.
func (c *Cluster) Prefer(config *pgx.ConnConfig) {
	c.execute(config)
	h := c.leader()
	if h == nil {
		return
	}
	all := append([]*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}}, config.Fallbacks...)
	slices.SortStableFunc(all, func(a, b *pgconn.FallbackConfig) int {
		return cmp.Compare(h.distance(a), h.distance(b))
	})
	config.Host, config.Port, config.TLSConfig, config.Fallbacks = all[0].Host, all[0].Port, all[0].TLSConfig, all[1:]
}

// distance is 0 for the host itself.
func (h *host) distance(f *pgconn.FallbackConfig) int {
	if f.Host == h.config.Host && f.Port == h.config.Port {
		return 0
	}
	return 1
}

// linked returns the function that dials for connections to the host.
func (c *Cluster) linked(h *host, dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		l := &link{cluster: c, host: h, dialling: cancel}
		c.mu.Lock()
		if c.primary != h {
			c.mu.Unlock()
			return nil, errLeft
		}
		c.links[l] = struct{}{}
		c.mu.Unlock()
		conn, err := dial(ctx, network, address)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.primary != h && err == nil {
			_ = conn.Close()
			err = errLeft
		}
		if err != nil {
			delete(c.links, l)
			return nil, err
		}
		l.Conn = conn
		return l, nil
	}
}

// cut ends the link, dialled or not, under whoever uses it. The caller holds the cluster's
// mutex.
func (l *link) cut() {
	if l.Conn == nil {
		l.dialling(errLeft)
		return
	}
	_ = l.Conn.Close()
}

// Close closes the connection.
func (l *link) Close() error {
	l.closing.Do(func() {
		l.cluster.mu.Lock()
		defer l.cluster.mu.Unlock()
		delete(l.cluster.links, l)
	})
	return l.Conn.Close()
}
