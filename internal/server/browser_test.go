package server_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/onceql/onceql/internal/server"
	"github.com/onceql/onceql/internal/telemetry"
)

func TestCORS_KeepsOtherSitesQueriesOut(t *testing.T) {
	t.Parallel()
	const trusted = "https://app.example.com"
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, origins := range [][]string{nil, {trusted}} {
		handler := server.CORS(origins, telemetry.New("", slog.New(slog.DiscardHandler)).Refusals, ok)
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			for _, sent := range []struct {
				what, site, origin string
				want               int
			}{
				{"no browser", "", "", 200},
				{"the address bar", "none", "", 200},
				{"the playground", "same-origin", "", 200},
				{"an image of another site", "cross-site", "", 403},
				{"an image of a neighbour", "same-site", "", 403},
				{"a script of another site", "cross-site", "https://evil.example", 403},
				{"an old browser", "", "https://evil.example", 403},
				{"a trusted page", "cross-site", trusted, map[bool]int{true: 200, false: 403}[origins != nil]},
			} {
				request := httptest.NewRequest(method, "/graphql", nil)
				if sent.site != "" {
					request.Header.Set("Sec-Fetch-Site", sent.site)
				}
				if sent.origin != "" {
					request.Header.Set("Origin", sent.origin)
				}
				recorder := httptest.NewRecorder()
				handler.ServeHTTP(recorder, request)
				if recorder.Code != sent.want {
					t.Errorf("%s, %s, origins %v: %d, want %d", method, sent.what, origins, recorder.Code, sent.want)
				}
			}
		}
	}
}
