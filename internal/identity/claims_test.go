package identity_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/issuer"
)

// The clock is the test's, so that the second at which a token begins or ends is
// exact.
func TestIdentify_JudgesTheClaims(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := issuer.NewInMemory(t)
		v := verifier(t, i)
		now := time.Now().Unix()
		good := fmt.Sprintf(`"iss":%q,"aud":%q,"sub":"acme","exp":%d`, i.URL, issuer.Audience, now+60)
		without := func(name, instead string) string {
			var kept []string
			for member := range strings.SplitSeq(good, ",") {
				if !strings.HasPrefix(member, `"`+name+`"`) {
					kept = append(kept, member)
				}
			}
			return strings.Join(append(kept, instead), ",")
		}
		for claims, reason := range map[string]string{
			good:                                                   "",
			good + `,"AUD":"another"`:                              "", // Claims that are not understood are ignored.
			good + `,"EXP":1,"Iss":7,"SUB":""`:                     "",
			good + `,"nbf":0`:                                      "",
			good + `,"iat":"yesterday"`:                            "",
			good + fmt.Sprintf(`,"nbf":%d`, now+60):                "",
			good + fmt.Sprintf(`,"nbf":%d.5`, now-1):               "",
			without("exp", fmt.Sprintf(`"exp":%d.5`, now)):         "",
			without("exp", fmt.Sprintf(`"exp":%de-3`, 1000*now+1)): "",
			without("exp", `"exp":253402300799`):                   "",

			without("aud", fmt.Sprintf(`"aud":["another",%q]`, issuer.Audience)):          "",
			without("sub", `"sub":"`+strings.Repeat("a", 252)+`acm"`):                     "",
			without("sub", `"sub":"\ud83d\ude80"`):                                        "",
			without("iss", `"iss":"`+i.URL[:5]+`\u002f`+i.URL[6:]+`"`):                    "",
			without("iss", `"ISS":"`+i.URL+`"`):                                           "issuer",
			without("iss", `"iss":"`+i.URL+`/"`):                                          "issuer",
			without("iss", `"iss":["`+i.URL+`"]`):                                         "issuer",
			without("iss", `"iss":"https://issuer.example","ISS":"`+i.URL+`"`):            "issuer",
			without("iss", `"iss":null`):                                                  "issuer",
			without("aud", fmt.Sprintf(`"AUD":%q`, issuer.Audience)):                      "audience",
			without("aud", fmt.Sprintf(`"aud":"another","AUD":%q`, issuer.Audience)):      "audience",
			without("aud", `"aud":"`+strings.ToUpper(issuer.Audience)+`"`):                "audience",
			without("aud", `"aud":[]`):                                                    "audience",
			without("aud", fmt.Sprintf(`"aud":[%q,7]`, issuer.Audience)):                  "audience",
			without("aud", fmt.Sprintf(`"aud":[[%q]]`, issuer.Audience)):                  "audience",
			without("aud", fmt.Sprintf(`"aud":{%q:1}`, issuer.Audience)):                  "audience",
			without("aud", fmt.Sprintf(`"aud":"%s another"`, issuer.Audience)):            "audience",
			without("aud", fmt.Sprintf(`"aud":"another","aud":%q`, issuer.Audience)):      "claims",
			without("aud", fmt.Sprintf(`"aud":"another","\u0061ud":%q`, issuer.Audience)): "claims",
			good + `,"sub":"globex"`:                                                      "claims",
			good + `,"a":{"b":1,"b":2}`:                                                   "claims",
			good + `,"a":NaN`:                                                             "claims",
			good + `,"a":"\ud800"`:                                                        "claims",
			good + ",\"a\":\"\xff\"":                                                      "claims",
			good + `,`:                                                                    "claims",
			without("exp", `"EXP":`+fmt.Sprint(now+60)):                                   "expired",
			without("exp", `"exp":`+fmt.Sprint(now)):                                      "expired",
			without("exp", fmt.Sprintf(`"exp":"%d"`, now+60)):                             "expired",
			without("exp", `"exp":-1`):                                                    "expired",
			without("exp", `"exp":1e-400`):                                                "expired",
			without("exp", `"exp":1e300`):                                                 "expired",
			without("exp", `"exp":1e400`):                                                 "expired",
			without("exp", `"exp":253402300800`):                                          "expired",
			without("exp", `"exp":9223372036854775808`):                                   "expired",
			without("exp", fmt.Sprintf(`"exp":%d000`, now+60)):                            "expired",
			without("exp", `"exp":null`):                                                  "expired",
			without("exp", `"exp":true`):                                                  "expired",
			without("exp", fmt.Sprintf(`"exp":[%d]`, now+60)):                             "expired",
			without("exp", `"exp":NaN`):                                                   "claims",
			without("exp", `"exp":Infinity`):                                              "claims",
			without("exp", fmt.Sprintf(`"exp":+%d`, now+60)):                              "claims",
			without("exp", fmt.Sprintf(`"exp":0%d`, now+60)):                              "claims",
			without("exp", fmt.Sprintf(`"exp":0x%x`, now+60)):                             "claims",
			good + fmt.Sprintf(`,"nbf":%d`, now+61):                                       "not_yet",
			good + fmt.Sprintf(`,"nbf":%d.5`, now+60):                                     "not_yet",
			good + `,"nbf":253402300799`:                                                  "not_yet",
			good + `,"nbf":1e300`:                                                         "claims",
			good + `,"nbf":1e400`:                                                         "claims",
			good + `,"nbf":-1`:                                                            "claims",
			good + fmt.Sprintf(`,"nbf":"%d"`, now):                                        "claims",
			good + `,"nbf":null`:                                                          "claims",
			good + `,"nbf":{}`:                                                            "claims",
			without("sub", `"SUB":"acme"`):                                                "tenant",
			without("sub", `"sub":""`):                                                    "tenant",
			without("sub", `"sub":null`):                                                  "tenant",
			without("sub", `"sub":7`):                                                     "tenant",
			without("sub", `"sub":["acme"]`):                                              "tenant",
			without("sub", `"sub":{"acme":1}`):                                            "tenant",
			without("sub", `"sub":"acme\u0000"`):                                          "tenant",
			without("sub", `"sub":"acme\n"`):                                              "tenant",
			without("sub", `"sub":"acme\u0085"`):                                          "tenant",
			without("sub", `"sub":"`+strings.Repeat("a", 256)+`"`):                        "tenant",
			without("sub", `"sub":"`+strings.Repeat("ä", 128)+`"`):                        "tenant",
			without("sub", `"sub":"\ud800"`):                                              "claims", // Two halves must not
			without("sub", `"sub":"\ud801"`):                                              "claims", // be one tenant.
			without("sub", `"sub":"\udc00\ud800"`):                                        "claims",
			without("sub", "\"sub\":\"acme\x00\""):                                        "claims",
			without("sub", "\"sub\":\"\xed\xa0\x80\""):                                    "claims",
		} {
			token := i.SignText(plainHeader, "{"+claims+"}")
			if reason != "" {
				wantRefused(t, v, claims, token, reason)
			} else if _, err := v.Identify(t.Context(), header(token)); err != nil {
				t.Errorf("%s: %v (%s)", claims, err, identity.Reason(err))
			}
		}
		for _, claims := range []string{"", "null", "[]", `"acme"`, "7", "{" + good, "{" + good + "}}", "{" + good + "} {}", "[{" + good + "}]", strings.Repeat("[", 5000)} {
			wantRefused(t, v, claims, i.SignText(plainHeader, claims), "claims")
		}
		token := i.SignText(plainHeader, "{"+good+"}")
		time.Sleep(time.Minute - time.Nanosecond)
		wantTenant(t, v, "just before its end", token, "acme")
		time.Sleep(time.Nanosecond)
		wantRefused(t, v, "at its end", token, "expired")
	})
}

func TestIdentify_ReadsScopesInEachOfTheirForms(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	v := verifier(t, i)
	base := strings.TrimSuffix(claimsText(t, i), "}")
	base = strings.Replace(base, `"scope":"projects:read",`, "", 1)
	both := []string{identity.ScopeRead, identity.ScopeWrite}
	read := []string{identity.ScopeRead}
	for claims, want := range map[string][]string{
		``: nil,
		`,"scope":"projects:read projects:write"`:                 both,
		`,"scope":"  projects:read  projects:write "`:             both,
		`,"scope":["projects:read","projects:write"]`:             both,
		`,"scope":"keys:read other projects:read"`:                {identity.ScopeRead, identity.ScopeKeys},
		`,"scp":"projects:read projects:write"`:                   both,
		`,"scp":["projects:read","projects:write"]`:               both,
		`,"scope":"projects:read","scp":"projects:write"`:         read, // The standard's name counts.
		`,"scope":"","scp":"projects:write"`:                      nil,
		`,"scope":[],"scp":["projects:write"]`:                    nil,
		`,"SCOPE":"projects:read","Scp":"projects:write"`:         nil,
		`,"scope":["projects:read projects:write"]`:               nil, // It is one name.
		`,"scope":"projects:read,projects:write"`:                 nil,
		`,"scope":"Projects:Read projects:read\u00a0"`:            nil,
		`,"scope":"projects:write\tprojects:read projects:read"`:  read,
		`,"scope":"projects:*"`:                                   nil,
		`,"scope":"projects:reader xprojects:write projects:rea"`: nil,
	} {
		got, err := v.Identify(t.Context(), header(i.SignText(plainHeader, base+claims+"}")))
		var may []string
		for _, scope := range append(slices.Clone(both), identity.ScopeKeys) {
			if got.May(scope) {
				may = append(may, scope)
			}
		}
		if diff := cmp.Diff(want, may); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", claims, err, diff)
		}
	}
	for _, claims := range []string{
		`,"scope":7`, `,"scope":null`, `,"scope":true`, `,"scope":{"projects:read":true}`,
		`,"scope":["projects:read",7]`, `,"scope":["projects:read",null]`, `,"scope":[["projects:read"]]`,
		`,"scp":7`, `,"scp":null`, `,"scp":["projects:read",7]`, `,"scope":null,"scp":"projects:read"`,
	} {
		wantRefused(t, v, claims, i.SignText(plainHeader, base+claims+"}"), "scope")
	}
	wantRefused(t, v, "two scopes", i.SignText(plainHeader, base+`,"scope":"a","scope":"b"}`), "claims")
}
