package server_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/onceql/onceql/internal/server"
	"github.com/onceql/onceql/internal/telemetry"
)

func TestHosts_HaveTheOneOfTheListener(t *testing.T) {
	t.Parallel()
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for listen, hosts := range map[string]map[string]int{
		"Api.Internal:8080": {"api.internal:8080": 200, "API.internal": 200, "other.internal": 421, "localhost": 200},
		":8080":             {"api.internal": 421, "localhost": 200},
		"[::]:8080":         {"api.internal": 421, "[::1]:8080": 200},
		"0.0.0.0:8080":      {"api.internal": 421, "10.0.0.1": 200},
	} {
		handler := server.NewHosts(listen, nil).Only(telemetry.New("", slog.New(slog.DiscardHandler)).Refusals, ok)
		for host, want := range hosts {
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.Host = host
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, request)
			if recorder.Code != want {
				t.Errorf("listening on %s, Host %s: %d, want %d", listen, host, recorder.Code, want)
			}
		}
	}
}
