package transport_test

import (
	"net/http"
	"testing"

	"github.com/onceql/onceql/graph/transport"
)

func TestDo_AnswersInTheMediaTypeThatTheClientPrefers(t *testing.T) {
	t.Parallel()
	const neither = ""
	for name, test := range map[string]struct {
		accept []string
		want   string
	}{
		"no header":                       {nil, applicationJSON},
		"blank":                           {[]string{" "}, applicationJSON},
		"anything":                        {[]string{"*/*"}, applicationJSON},
		"any application":                 {[]string{"application/*"}, applicationJSON},
		"JSON":                            {[]string{applicationJSON}, applicationJSON},
		"GraphQL":                         {[]string{graphqlResponse}, graphqlResponse},
		"in capitals":                     {[]string{"Application/GraphQL-Response+JSON"}, graphqlResponse},
		"in UTF-8":                        {[]string{graphqlResponse + `; charset="UTF-8"`}, graphqlResponse},
		"in UTF-16":                       {[]string{graphqlResponse + "; charset=utf-16"}, neither},
		"in UTF-16, or JSON":              {[]string{graphqlResponse + "; charset=utf-16, application/json;q=0.1"}, applicationJSON},
		"both, GraphQL first":             {[]string{graphqlResponse + ", " + applicationJSON}, graphqlResponse},
		"both, JSON first":                {[]string{applicationJSON + "," + graphqlResponse}, applicationJSON},
		"both, in two headers":            {[]string{applicationJSON + ";q=0.5", graphqlResponse}, graphqlResponse},
		"Apollo's":                        {[]string{"application/graphql-response+json,application/json;q=0.9"}, graphqlResponse},
		"urql's":                          {[]string{"application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"}, graphqlResponse},
		"a browser's":                     {[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, applicationJSON},
		"the better q-value":              {[]string{"application/json;q=0.8, application/graphql-response+json;q=0.801"}, graphqlResponse},
		"named before anything":           {[]string{"*/*, " + graphqlResponse}, graphqlResponse},
		"named JSON before anything":      {[]string{"application/*, " + applicationJSON}, applicationJSON},
		"anything but JSON":               {[]string{"application/json;q=0, */*;q=0.1"}, graphqlResponse},
		"anything but GraphQL":            {[]string{"*/*, application/graphql-response+json; q=0.000"}, applicationJSON},
		"the narrow range decides":        {[]string{"*/*;q=1, application/*;q=0"}, neither},
		"the narrow range decides anyhow": {[]string{"application/*;q=0, */*;q=1"}, neither},
		"neither":                         {[]string{"text/html, image/png"}, neither},
		"JSON at q=0":                     {[]string{"application/json;q=0"}, neither},
		"anything at q=0.0":               {[]string{"*/*;q=0.0"}, neither},
		"a q-value that is none":          {[]string{"application/json;q=NaN, application/graphql-response+json;q=1.1"}, neither},
		"more decimals than there are":    {[]string{"application/json;q=0.1234"}, neither},
		"a broken range among others":     {[]string{"/;;q, application/json"}, applicationJSON},
		"a comma in quotes":               {[]string{`text/plain; a="\",application/json,", application/graphql-response+json`}, graphqlResponse},
		"only commas":                     {[]string{",,"}, neither},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(transport.Transport{})
			r := post(`{"query":"{ project(id: 1) { id } }"}`)
			r.Header["Accept"] = test.accept
			w, answer := s.do(t, r)
			if test.want == neither {
				if w.Code != http.StatusNotAcceptable || answer.code() != "BAD_USER_INPUT" || s.runs.Load() != 0 {
					t.Fatalf("%d %s after %d runs, want 406", w.Code, w.Body, s.runs.Load())
				}
				if answer.Data != nil {
					t.Errorf("data in a refusal: %s", w.Body)
				}
				return
			}
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != test.want+"; charset=utf-8" {
				t.Fatalf("%d %s %s, want %s", w.Code, w.Header().Get("Content-Type"), w.Body, test.want)
			}
		})
	}
}
