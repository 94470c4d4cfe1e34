package transport

import (
	"mime"
	"strconv"
	"strings"
)

const (
	applicationJSON = "application/json"
	graphqlResponse = "application/graphql-response+json"
)

// preference is how much a client wants one media type.
type preference struct {
	quality  float64
	specific int // of the range that decided: 1 for */*, 2 for application/*, 3 for the type itself
	position int // of that range in the header
}

func (p preference) over(other preference) bool {
	if p.quality != other.quality {
		return p.quality > other.quality
	}
	if p.specific != other.specific {
		return p.specific > other.specific
	}
	return p.position < other.position
}

// negotiate returns the media type to answer with: the one of the highest
// q-value, among equals the one that is named, among those the one that is named
// first. Without a word from the client it is application/json, as it is for
// clients that know nothing of the other. A range that can't be read is passed
// over.
func negotiate(accept []string) (mediaType string, ok bool) {
	header := strings.Join(accept, ",")
	if strings.TrimSpace(header) == "" || header == "*/*" || header == applicationJSON {
		return applicationJSON, true
	}
	var plain, response preference
	position := 0
	for field := range elements(header) {
		position++
		name, quality, ok := parseRange(field)
		if !ok {
			continue
		}
		switch name {
		case "*/*":
			plain.meet(preference{quality, 1, position})
			response.meet(preference{quality, 1, position})
		case "application/*":
			plain.meet(preference{quality, 2, position})
			response.meet(preference{quality, 2, position})
		case applicationJSON:
			plain.meet(preference{quality, 3, position})
		case graphqlResponse:
			response.meet(preference{quality, 3, position})
		}
	}
	switch {
	case response.quality > 0 && response.over(plain):
		return graphqlResponse, true
	case plain.quality > 0:
		return applicationJSON, true
	}
	return "", false
}

// meet lets the most specific range decide; of equal ones the kindest.
func (p *preference) meet(other preference) {
	if other.specific > p.specific || other.specific == p.specific && other.quality > p.quality {
		*p = other
	}
}

// parseRange reads one media range. One with another charset than UTF-8 asks for
// what can't be had.
func parseRange(field string) (name string, quality float64, ok bool) {
	name, parameters, err := mime.ParseMediaType(field)
	if err != nil {
		return "", 0, false
	}
	if charset, set := parameters["charset"]; set && !strings.EqualFold(charset, "utf-8") {
		return "", 0, false
	}
	q, set := parameters["q"]
	if !set {
		return name, 1, true
	}
	if !isQuality(q) {
		return "", 0, false
	}
	quality, err = strconv.ParseFloat(q, 64)
	return name, quality, err == nil
}

// isQuality matches RFC 9110's qvalue: 0 to 1, at most three decimals.
func isQuality(q string) bool {
	whole, decimals, _ := strings.Cut(q, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 {
		return false
	}
	for _, digit := range decimals {
		if digit < '0' || digit > '9' || whole == "1" && digit != '0' {
			return false
		}
	}
	return true
}

// elements splits a header's list at the commas that are not in quotes.
func elements(header string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(header); i++ {
			switch {
			case quoted && header[i] == '\\':
				i++
			case header[i] == '"':
				quoted = !quoted
			case header[i] == ',' && !quoted:
				if !yield(header[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(header[start:])
	}
}
