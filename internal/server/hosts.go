package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/internal/telemetry"
)

// Hosts are the names that a server answers to. A page whose own name has been pointed at
// this server is, to a browser, of the same origin: the name that it sends in the Host
// tells it apart. Addresses are no names, and no page can have one that is another's.
type Hosts map[string]bool

// NewHosts returns localhost, the host of listenAddr, and those that are allowed, which
// ValidateHosts has accepted: names, with a port or for any.
func NewHosts(listenAddr string, allowed []string) Hosts {
	hosts := Hosts{"localhost": true}
	if name, _, ok := splitHost(listenAddr); ok && name != "" {
		hosts[name] = true
	}
	for _, host := range allowed {
		name, port, _ := splitHost(host)
		if port != "" {
			name += ":" + port
		}
		hosts[name] = true
	}
	return hosts
}

// Only refuses requests whose Host is another name, with 421, before anything of them is
// looked at. What a proxy says the Host was is not asked: a page can say that too.
func (h Hosts) Only(refusals *telemetry.Refusals, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.has(r.Host) {
			refusals.Refuse(r.Context(), telemetry.Host, "")
			graph.Refuse(w, r, http.StatusMisdirectedRequest, graph.CodeForbidden, "this server does not answer to the name in Host; see ALLOWED_HOSTS")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (h Hosts) has(host string) bool {
	name, port, ok := splitHost(host)
	switch {
	case !ok:
		return false
	case name == "" || h[name] || h[name+":"+port]: // HTTP/1.0 has no Host, and every browser sends one.
		return true
	case port == "" && (h[name+":80"] || h[name+":443"]): // One of these is the default.
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// splitHost returns the name or the address of a host, in lower case and without the dot
// of a root, and the port, if it has one. An IPv6 address is in brackets.
func splitHost(host string) (name, port string, ok bool) {
	name, port, _ = strings.Cut(host, ":")
	if rest, bracketed := strings.CutPrefix(host, "["); bracketed {
		var after string
		if name, after, ok = strings.Cut(rest, "]"); !ok || after != "" && after[0] != ':' {
			return "", "", false
		}
		if address, err := netip.ParseAddr(name); err != nil || !address.Is6() {
			return "", "", false
		}
		port = strings.TrimPrefix(after, ":")
	}
	return strings.ToLower(strings.TrimSuffix(name, ".")), port, strings.Trim(port, "0123456789") == ""
}

// portNumber says whether the text is the number of a port, or none.
func portNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil
}

var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$`)

// ValidateHosts refuses what is not the name of a host. A pattern would let pages of
// strangers in.
func ValidateHosts(hosts []string) error {
	for _, host := range hosts {
		name, port, ok := splitHost(host)
		_, err := netip.ParseAddr(name)
		if !ok || err != nil && !hostName.MatchString(name) || strings.HasSuffix(host, ":") || !portNumber(port) {
			return fmt.Errorf("ALLOWED_HOSTS: %q is not the name of a host such as api.example.com or api.example.com:8080", host)
		}
	}
	return nil
}
