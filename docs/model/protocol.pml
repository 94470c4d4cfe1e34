/* The protocol of the engine, for spin. README.md says how to read it, `run` runs it: it sets N
 * callers, S servers, K keys, how many FAULTS and LEAVES there are, which, and the BUG if any.
 * A comment with // names the Go function that a block stands for, below idempotency/.
 *
 * Callers are alike, so they are counted: waits[f] with fingerprint f wait for a call. call[C(s,k)] is
 * what server s has in flight for key k. tx[t] is a transaction, its backend and its connection.
 * It may outlive the connection: then nobody hears it. by is an execution id: i+1 that of the leader
 * of call i, REFUSED that of somebody who was refused, 0 that of somebody who has left. */
#define T        (S*K + FAULTS)
#define C(s,k)   ((s)*K + (k))
#define REFUSED  (S*K + 1)
#define KEY      (i % K)
#define WAITED   (call[i].waits[0] + call[i].waits[1] > 0)
#define BOTH(t)  (K == 2 && tx[t].fp[0] && tx[t].fp[K-1])
#define KEPT(k)  (tx[t].fp[k] && !tx[t].suspect[k])
#define CLEAR(k) (!KEPT(k) || !writer[k] || BUG == NOKEY)
#define THERE(k) (KEPT(k) && row[k].seen && BUG != NOKEY)
#define GOOD(k)  (!BAD || tx[t].fp[k] != 2)
#define BEGUN    (tx[u].at == lock || tx[u].at == look || tx[u].at == effect)
#define SYNC     (STANDBY == 2 && !promoted)
#define each(n,most) for (n : 0 .. (most)-1)

mtype = { free, lock, look, effect, insert, inserted, flushed, visible, released, orphan, none, queued, running, polled, acking };
typedef Call { mtype at = none; byte waits[2]; bit lead; bit led; bit single; byte commits; bit marked };
typedef Tx { mtype at = free; bit heard; bit gone; byte s; byte began; byte fp[K]; bit pay[K]; byte by[K]; bit suspect[K] };
typedef Row { byte fp; bit pay; byte by; byte made; bit seen; bit copied; byte effects; byte told };
Call call[S*K]; Tx tx[T]; Row row[K], demoted; byte owner[K], writer[K];
byte idle = N, faults = FAULTS, leaves = LEAVES, forgets = FORGETS, clock, used; bit begun, promoted;
byte f, k, j, u, v, i;

inline part(to) { // internal/schedule/call.go end
  each(v,T) { if :: tx[v].by[KEY] == i+1 -> tx[v].by[KEY] = to :: else fi };
  if :: row[KEY].by == i+1 -> assert(to != REFUSED || !row[KEY].seen) /* I6 */; row[KEY].by = to :: else fi;
  call[i].led = 0; call[i].commits = 0
}
inline next() { // internal/schedule/schedule.go enqueue
  if :: WAITED -> call[i].at = queued
     :: else -> part(0); call[i].at = none; call[i].lead = 0; call[i].single = 0; call[i].marked = 0
  fi
}
inline poll() { next(); if :: call[i].at == queued -> call[i].at = polled :: else fi } // internal/schedule/again.go poll
inline resolve(p, y, live, expired) { // internal/schedule/call.go Resolve, call.go checkReplay
  each(f,2) {
    if :: live && call[i].waits[f] && (f+1 == p || BUG == NOCHECK && call[i].marked) && (!(expired) || row[KEY].by == i+1) ->
          assert(row[KEY].effects == 1 && row[KEY].pay == y);                       /* I2 */
          assert(row[KEY].fp == f+1);                                               /* I4 */
          assert(row[KEY].told == 0 || row[KEY].told == y+1); row[KEY].told = y+1   /* I3 */
       :: else
    fi;
    call[i].waits[f] = 0
  };
  next()
}
inline replay(at_) { // execute.go replayFound
  assert(BUG != REPLAYCLOCK || row[KEY].made+1 > at_ || row[KEY].by == i+1);
  resolve(row[KEY].fp, row[KEY].pay, 1, row[KEY].made+1 <= at_)
}
inline refuse(g) { call[i].waits[g] = 0; part(REFUSED); call[i].single = 0; next() } // execute.go refuse
inline fail() { // execute.go fail
  if :: call[i].led -> call[i].waits[call[i].lead]--; part(0) :: else fi;
  call[i].single = 0; next()
}
inline again(one) { if :: one -> call[i].single = 1 :: else fi; next() } // internal/schedule/again.go Again
inline unknown() { // separate.go unknown
  if :: call[i].led -> call[i].commits++ :: else fi;
  call[i].single = 1; poll();
  if :: BUG == BLIND && call[i].at == polled -> call[i].at = queued; call[i].marked = 1 :: else fi
}
inline wipe(w) {
  each(k,K) {
    tx[w].fp[k] = 0; tx[w].pay[k] = 0; tx[w].by[k] = 0; tx[w].suspect[k] = 0;
    if :: writer[k] == w+1 -> writer[k] = 0 :: else fi
  };
  tx[w].heard = 0; tx[w].gone = 0; tx[w].s = 0; tx[w].began = 0
}
inline unlock(w) { each(k,K) { if :: owner[k] == w+1 -> owner[k] = 0 :: else fi } }
inline finish(w) { unlock(w); wipe(w); tx[w].at = free; used-- } // internal/store/transaction.go End
inline lost(arrived) { // tx[u] loses its connection: separate.go undone
  each(j,K) {
    i = C(tx[u].s,j);
    if :: tx[u].heard && tx[u].fp[j] && (BEGUN || tx[u].suspect[j]) -> again(tx[u].suspect[j])
       :: tx[u].heard && tx[u].fp[j] && !(BEGUN || tx[u].suspect[j]) -> unknown()
       :: else
    fi
  };
  tx[u].heard = 0; tx[u].s = 0;
  if :: BEGUN || !(arrived) && (tx[u].at == insert || tx[u].at == inserted) -> wipe(u); tx[u].at = orphan :: else fi
}
inline begin() { // the call i in tx[u]: internal/schedule/schedule.go wake
  if :: call[i].led :: !call[i].led && call[i].waits[0] -> call[i].lead = 0 :: !call[i].led && call[i].waits[1] -> call[i].lead = 1 fi;
  d_step { call[i].led = 1; call[i].at = running; tx[u].fp[KEY] = call[i].lead+1; tx[u].by[KEY] = i+1 }
}
inline appear(k_) { // what was flushed can be seen
  row[k_].seen = 1; row[k_].effects++; assert(row[k_].effects == 1) /* I1 */; assert(row[k_].by != REFUSED) /* I6 */
}

inline rest() { f = 0; k = 0; j = 0; u = 0; v = 0; i = 0 }
active [T] proctype transaction() {
  byte t = _pid;
end: do
  :: d_step { tx[t].at == lock -> // internal/store/transaction.go Claim: try the locks
       tx[t].began = clock;
       each(k,K) { if :: tx[t].fp[k] && !owner[k] && !LIE -> owner[k] = t+1 :: else fi };
       tx[t].at = look; rest() }
  :: d_step { tx[t].at == look -> // internal/store/transaction.go Claim: look, with a newer snapshot; execute.go replayFound
       each(j,K) {
         i = C(tx[t].s,j);
         if :: !tx[t].fp[j]
            :: tx[t].fp[j] && row[j].seen && !SYNC -> tx[t].fp[j] = 0; replay(tx[t].began)
            :: tx[t].fp[j] && row[j].seen && SYNC -> tx[t].fp[j] = 0; poll()
            :: tx[t].fp[j] && !row[j].seen && !LIE && owner[j] != t+1 -> tx[t].fp[j] = 0; poll()
            :: else
         fi
       };
       if :: tx[t].fp[0] || tx[t].fp[K-1] -> tx[t].at = effect :: else -> finish(t) fi; rest() }
  :: atomic { tx[t].at == effect -> // execute.go try
       i = C(tx[t].s, (tx[t].fp[0] -> 0 : K-1));
       if :: call[i].commits < TRIES && GOOD(0) && GOOD(K-1) -> // execute.go run, commit
             each(j,K) { if :: tx[t].fp[j] :: tx[t].fp[j] -> tx[t].pay[j] = 1 :: !tx[t].fp[j] fi };
             tx[t].at = insert
          :: !BOTH(t) && (!BAD || !GOOD(0) || !GOOD(K-1)) -> d_step { refuse(tx[t].fp[KEY]-1); finish(t) } // separate.go undoneSingle
          :: !BOTH(t) && call[i].commits > 1 -> d_step { refuse(tx[t].fp[KEY]-1); finish(t) } // execute.go replayFound
          :: !BOTH(t) && call[i].commits >= TRIES -> d_step { fail(); finish(t) } // execute.go replayFound
          :: !BOTH(t) && LATE -> d_step { fail(); wipe(t); tx[t].at = orphan } // internal/store/effect.go classify
          :: BOTH(t) -> // separate.go bisect: what fails by itself is a suspect, and so may be what fails through the other
             if :: tx[t].suspect[0] = !GOOD(0) :: tx[t].suspect[0] = 1 fi;
             if :: tx[t].suspect[K-1] = !GOOD(K-1) :: tx[t].suspect[K-1] = 1 fi;
             d_step {
               if :: KEPT(0) || KEPT(K-1) -> tx[t].at = insert
                  :: else -> each(j,K) { i = C(tx[t].s,j); again(1) }; finish(t)
               fi }
       fi; rest() }
  :: d_step { tx[t].at == insert && CLEAR(0) && CLEAR(K-1) -> // internal/store/transaction.go Commit; the unique check has waited
       if :: THERE(0) || THERE(K-1) ->
             assert(LIE); // Honest locks leave no race to lose.
             each(j,K) { i = C(tx[t].s,j); if :: tx[t].heard && tx[t].fp[j] -> call[i].marked = (BUG == NOCHECK); again(tx[t].suspect[j]) :: else fi };
             finish(t)
          :: else -> each(k,K) { if :: KEPT(k) -> writer[k] = t+1 :: else fi }; tx[t].at = inserted
       fi; rest() }
  :: d_step { tx[t].at == inserted ->
       each(k,K) { if :: KEPT(k) -> row[k].fp = tx[t].fp[k]; row[k].pay = tx[t].pay[k]; row[k].by = tx[t].by[k]; row[k].made = tx[t].began :: else fi };
       tx[t].at = flushed; rest() }
  :: d_step { tx[t].at == flushed && (!SYNC || (!KEPT(0) || row[0].copied) && (!KEPT(K-1) || row[K-1].copied)) ->
       each(k,K) { if :: KEPT(k) -> appear(k); writer[k] = 0 :: else fi };
       tx[t].at = visible; rest() }
  :: d_step { tx[t].at == visible -> unlock(t); tx[t].at = released; rest() }
  :: d_step { tx[t].at == released -> // execute.go commit
       each(j,K) {
         i = C(tx[t].s,j);
         if :: tx[t].heard && KEPT(j) -> resolve(tx[t].fp[j], tx[t].pay[j], !tx[t].gone, 0)
            :: tx[t].heard && tx[t].suspect[j] -> again(1)
            :: else
         fi
       };
       finish(t); rest() }
  :: d_step { tx[t].at == orphan -> finish(t); rest() } // The backend finds that nobody is there.
  :: atomic { faults && tx[t].heard && (CUT == 1 || CUT == 2 && tx[t].at != lock && tx[t].at != look && tx[t].at != effect) -> // the connection is cut
       faults--; u = t;
       if :: d_step { lost(1) } :: tx[t].at == insert || tx[t].at == inserted -> d_step { u = t; lost(0) } fi; rest() }
  od
}

active [S*K] proctype worker() {
  byte c = _pid - T;
end: do
  :: atomic { call[c].at == queued && used < T -> // internal/schedule/schedule.go wake
       i = c;
       d_step { u = 0; do :: tx[u].at != free -> u++ :: else -> break od;
         used++; tx[u].at = lock; tx[u].heard = 1; tx[u].s = c / K };
       begin();
       if :: K == 2 && c % K == 0 && !call[c].single && call[c+K-1].at == queued && !call[c+K-1].single -> i = c+K-1; begin()
          :: true
       fi; rest() }
  :: d_step { call[c].at == polled && row[c % K].seen && !SYNC -> i = c; replay(clock); rest() } // engine.go lookUp
  :: d_step { call[c].at == polled && row[c % K].seen && SYNC -> call[c].at = acking; rest() } // internal/store/transaction.go Acknowledge
  :: d_step { call[c].at == acking && row[c % K].copied -> i = c; replay(clock); rest() }
  :: d_step { call[c].at == polled && !row[c % K].seen && (LIE || !owner[c % K]) -> i = c; next(); rest() } // internal/schedule/lookups.go Missed
  od
}

inline recover() { // What was flushed comes back, on whichever database it is; what holds locks is gone.
  each(u,T) { if :: tx[u].at != free -> lost(1); finish(u) :: else fi };
  each(k,K) { if :: row[k].fp && !row[k].seen -> appear(k) :: else fi };
  each(i,S*K) { if :: call[i].at == acking -> call[i].at = polled :: else fi }; skip
}
inline remove(k_) { // row k is gone by contract: the key is new
  each(u,T) { if :: tx[u].at == visible || tx[u].at == released -> tx[u].gone = 1 :: else fi };
  row[k_].fp = 0; row[k_].pay = 0; row[k_].by = 0; row[k_].made = 0; row[k_].seen = 0; row[k_].copied = 0; row[k_].told = 0
}

active proctype world() {
end: do
  :: atomic { idle -> idle--; // internal/schedule/schedule.go join
       if :: !begun -> i = 0; f = 0; begun = 1 :: begun -> select(i : 0 .. S*K-1); select(f : 0 .. 1) fi;
       d_step { call[i].waits[f]++; if :: call[i].at == none -> call[i].at = queued :: else fi }; rest() }
  :: atomic { leaves -> select(i : 0 .. S*K-1); select(f : 0 .. 1); // internal/schedule/schedule.go leave
       call[i].waits[f] > 0 -> leaves--;
       if :: !(call[i].led && call[i].lead == f && call[i].waits[f] == 1) :: call[i].led && call[i].lead == f -> d_step { part(0) } fi;
       d_step { call[i].waits[f]--; if :: call[i].at != running && !WAITED -> next() :: else fi }; rest() }
  :: atomic { CRASH && faults && begun -> faults--; select(v : 0 .. S-1); // kill -9 of server v: its callers come again
       select(f : 0 .. 1);
       d_step {
         each(i,S*K) { if :: i / K == v -> idle = idle + call[i].waits[0] + call[i].waits[1]; call[i].waits[0] = 0; call[i].waits[1] = 0 :: else fi };
         each(u,T) { if :: tx[u].at != free && tx[u].heard && tx[u].s == v -> lost(f) :: else fi };
         each(i,S*K) { if :: i / K == v -> next() :: else fi }; skip }; rest() }
  :: d_step { CRASH && faults && begun -> faults--; recover(); rest() } // The database crashes.
  :: d_step { STANDBY && !promoted && row[0].fp && !row[0].copied -> row[0].copied = 1; rest() } // The standby has it.
  :: d_step { STANDBY && faults && !promoted && begun && (SYNC || row[0].copied || !row[0].told || BUG == LOSSY) -> // a failover
       faults--; promoted = 1;
       if :: !row[0].copied -> assert(!row[0].told) /* I2 */; remove(0); row[0].effects = 0 :: else fi;
       recover(); rest() }
  :: d_step { clock < TICKS -> clock++; rest() }
  :: d_step { forgets && row[0].seen && (!owner[0] || LIE) -> forgets--; remove(0); row[0].effects = 0; rest() } // internal/store/keys.go Forget
  :: d_step { row[0].seen && row[0].made+2 <= clock -> remove(0); row[0].effects = 0; rest() } // internal/store/keys.go Purge
  od
}

active proctype judge() { // Nothing happens any more.
  timeout -> assert(idle == 0 && used == 0);
  each(k,K) { assert(row[k].effects == row[k].seen && row[k].seen == (row[k].fp > 0) && !owner[k] && !writer[k]) }; /* I5 */
  each(i,S*K) { assert(call[i].at == none) }
}
