package operator

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// The actions that are recorded.
const (
	// ActionForget is of one key.
	ActionForget = "forget"
	// ActionForgetTenant is of all keys of a tenant; each transaction of it is a part.
	ActionForgetTenant = "forget-tenant"
	// ActionRemoveProjects and ActionRemoveKeys are of all that a tenant has: a removal has
	// parts of both.
	ActionRemoveProjects = "remove-tenant-projects"
	ActionRemoveKeys     = "remove-tenant-keys"
)

// An Action is what an operator did, as the table operator_actions has it. Its JSON is that
// of `onceql key audit --json`.
type Action struct {
	ID   uuid.UUID `json:"id"`
	Part int       `json:"part"`
	// At and Role are the database's own: when, and the role that was logged in as.
	At   time.Time `json:"at"`
	Role string    `json:"role"`
	// Operator is who ran the command, by the name of the system.
	Operator string `json:"operator"`
	Action   string `json:"action"`
	Reason   string `json:"reason"`
	// Tenant is nil for what was done to the rows of several, and KeyHash for several keys.
	Tenant  *string `json:"tenant"`
	KeyHash *string `json:"keyHash"`
	Removed int64   `json:"removed"`
	// What the row was.
	Operation          *string    `json:"operation,omitempty"`
	RequestID          *string    `json:"requestId,omitempty"`
	TraceID            *string    `json:"traceId,omitempty"`
	Fingerprint        *string    `json:"fingerprint,omitempty"`
	FingerprintVersion *int16     `json:"fingerprintVersion,omitempty"`
	ExecutedAt         *time.Time `json:"executedAt,omitempty"`
	ExpiresAt          *time.Time `json:"expiresAt,omitempty"`
}

// Who is the user and host of this process, and with sudo the user who called it.
func Who() string {
	name, current := os.Getenv("SUDO_USER"), systemUser()
	if name == "" {
		name = current
	} else if name != current {
		name += " as " + current
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// systemUser is the user of this process. One that /etc/passwd does not name, of a directory
// service or in a container, is called whatever the environment says: with it goes the number.
func systemUser() string {
	uid := strconv.Itoa(os.Getuid())
	current, err := user.Current()
	if err != nil {
		return "uid=" + uid
	}
	if runtime.GOOS != "linux" || named(uid) {
		return current.Username
	}
	return current.Username + "(uid=" + uid + ")"
}

// named says whether /etc/passwd names the user.
func named(uid string) bool {
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(users)) {
		if fields := strings.Split(line, ":"); len(fields) > 2 && fields[2] == uid {
			return true
		}
	}
	return false
}

// Record adds the action to those of the database, in a transaction that does it.
func Record(ctx context.Context, tx pgx.Tx, a Action) error {
	var fingerprint []byte
	if a.Fingerprint != nil {
		fingerprint, _ = hex.DecodeString(*a.Fingerprint)
	}
	_, err := tx.Exec(ctx, `
		insert into operator_actions (id, part, operator, action, reason, scope, key_hash, removed,
			operation, request_id, trace_id, request_hash, hash_version, executed_at, expires_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
		a.ID, a.Part, a.Operator, a.Action, a.Reason, a.Tenant, a.KeyHash, a.Removed,
		a.Operation, a.RequestID, a.TraceID, fingerprint, a.FingerprintVersion, a.ExecutedAt, a.ExpiresAt)
	if err != nil {
		return fmt.Errorf("recording the action: %w", err)
	}
	return nil
}

// forgotten is the action of forgetting the record.
func forgotten(r idempotency.Record, reason string) Action {
	a := Action{
		ID: uuid.Must(uuid.NewV7()), Part: 1, Operator: Who(), Action: ActionForget, Reason: reason,
		Tenant: &r.Scope, KeyHash: new(idempotency.KeyHash(r.Scope, r.Key)), Removed: 1,
		Operation: &r.Operation, Fingerprint: new(hex.EncodeToString(r.Fingerprint[:])), FingerprintVersion: &r.FingerprintVersion,
		ExecutedAt: &r.ExecutedAt, ExpiresAt: &r.ExpiresAt,
	}
	if r.RequestID != "" {
		a.RequestID = &r.RequestID
	}
	if r.TraceID != "" {
		a.TraceID = &r.TraceID
	}
	return a
}

// Which actions are listed.
type Which struct {
	// Tenant is whose; nil means those of all tenants.
	Tenant *string
	// Key, where it is not empty, is the one that they were done to, or that of a tenant
	// whose keys they were all done to.
	Key string
	// Limit is how many. One counts once, however many parts it has.
	Limit int
}

// whole are the actions with their parts added up, where the last part stood.
func whole(parts []Action) []Action {
	var actions []Action
	for _, part := range parts {
		same := func(a Action) bool { return a.ID == part.ID && a.Action == part.Action }
		if i := slices.IndexFunc(actions, same); i >= 0 {
			actions[i].Removed += part.Removed
		} else {
			actions = append(actions, part)
		}
	}
	return actions
}

// Actions lists the parts of what was done, newest first.
func (s *Session) Actions(ctx context.Context, which Which) ([]Action, error) {
	if !s.rights.recorded {
		return nil, nil // The schema is of a build that kept no record.
	}
	// The hash is idempotency.KeyHash, computed there for each tenant's key.
	rows, err := s.pool.Query(ctx, `
		select id, part, acted_at, role, operator, action, reason, scope, key_hash, removed,
			operation, request_id, trace_id, encode(request_hash, 'hex'), hash_version, executed_at, expires_at
		from operator_actions
		where id in (
			select id from operator_actions
			where ($1::text is null or scope = $1)
			and ($2 = '' or key_hash is null
				or key_hash = left(encode(sha256(int8send(octet_length(scope)) || convert_to(scope || $2, 'UTF8')), 'hex'), 16))
			group by id
			order by max(acted_at) desc, id desc
			limit $3
		)
		order by acted_at desc, id desc, part desc`, which.Tenant, which.Key, which.Limit)
	if err != nil {
		return nil, fmt.Errorf("reading the record of actions: %w", err)
	}
	actions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Action, err error) {
		err = row.Scan(&a.ID, &a.Part, &a.At, &a.Role, &a.Operator, &a.Action, &a.Reason, &a.Tenant, &a.KeyHash, &a.Removed,
			&a.Operation, &a.RequestID, &a.TraceID, &a.Fingerprint, &a.FingerprintVersion, &a.ExecutedAt, &a.ExpiresAt)
		return a, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the record of actions: %w", err)
	}
	for i := range actions {
		a := &actions[i]
		a.At = a.At.UTC()
		for _, at := range []*time.Time{a.ExecutedAt, a.ExpiresAt} {
			if at != nil {
				*at = at.UTC()
			}
		}
	}
	return actions, nil
}
