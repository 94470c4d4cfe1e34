/* The protocol of the engine, for spin. README.md says how to read it, and `run` runs it. A comment
 * with // names the Go functions that a line or a block stands for, by their files in idempotency/.
 *
 * Callers are alike, so they are counted: waits[f] of those with fingerprint f wait for a call.
 * call[C(s,k)] is what server s has in flight for key k. tx[t] is a transaction, its backend and its
 * connection; it may outlive the connection, and then nobody hears it. by is an execution id: i+1 is
 * that of the leader of call i, REFUSED of somebody who was refused, 0 of somebody who has left.
 * row[k] is the row of key k, and with it the effect, from when it is flushed. One step is what no
 * other process can see the middle of. The letters f, k, j, t, u, i count as above; they start at 0. */
#define T        (S*K + FAULTS)
#define C(s,k)   ((s)*K + (k))
#define REFUSED  (S*K + 1)
#define KEY      (i % K)
#define WAITED   (call[i].waits[0] + call[i].waits[1] > 0)
#define BOTH     (K == 2 && tx[t].fp[0] && tx[t].fp[K-1])
#define KEPT(k)  (tx[t].fp[k] && !tx[t].suspect[k])
#define GOOD(k)  (!BAD || tx[t].fp[k] != 2)
#define FREE(k)  (!KEPT(k) || !writer[k] || NOKEY)
#define TWIN(k)  (KEPT(k) && row[k].seen && !NOKEY)
#define SAFE(k)  (!KEPT(k) || row[k].copied)
#define SYNC     (STANDBY == 2 && !promoted)
#define BEGUN(u) (tx[u].at == lock || tx[u].at == look || tx[u].at == effect)
#define SENT(u)  (tx[u].at == insert || tx[u].at == inserted)
#define when(x)  if :: !(x) :: else -> /* ... fi */
#define each(n,most) for (n : 0 .. (most)-1)

mtype = { free, lock, look, effect, insert, inserted, flushed, visible, released, orphan, /* of a transaction */
          none, queued, running, polled, acknowledging };                               /* of a call */
typedef Call { mtype at = none; byte waits[2]; bit lead, led, single, marked; byte commits };
typedef Tx { mtype at = free; bit heard, gone, old; byte s, began, fp[K], by[K]; bit pay[K], suspect[K] };
typedef Row { byte fp, by, made, effects, told; bit pay, seen, copied };
Call call[S*K]; Tx tx[T]; Row row[K], demoted; byte owner[K], writer[K];
byte idle = N, faults = FAULTS, leaves = LEAVES, forgets = FORGETS, clock, used; bit begun, promoted;
byte f, k, j, u, v, i;
inline rest() { f = 0; k = 0; j = 0; u = 0; v = 0; i = 0 }

/* What becomes of call i. */
inline part(to) { // internal/schedule/call.go end: the leader has its answer
  each(v,T) { when(tx[v].by[KEY] == i+1) tx[v].by[KEY] = to fi };
  when(row[KEY].by == i+1) assert(to != REFUSED || !row[KEY].seen || !I6); row[KEY].by = to fi;
  call[i].led = 0; call[i].commits = 0
}
inline next() { // internal/schedule/schedule.go enqueue; internal/schedule/call.go finish
  if :: WAITED -> call[i].at = queued
     :: else -> part(0); call[i].at = none; call[i].lead = 0; call[i].single = 0; call[i].marked = 0
  fi
}
inline poll() { next(); when(call[i].at == queued) call[i].at = polled fi } // internal/schedule/again.go poll, pollLater
inline again(alone) { when(alone) call[i].single = 1 fi; next() } // internal/schedule/again.go Again; separate.go again, singly
inline unknown() { // separate.go unknown
  when(call[i].led) call[i].commits++ fi;
  call[i].single = 1; poll();
  when(BLIND && call[i].at == polled) call[i].at = queued; call[i].marked = 1 fi
}
inline success(y) { // call.go do: what a caller with fingerprint f is told
  assert(row[KEY].effects == 1 && row[KEY].pay == y); /* I2 */
  assert(row[KEY].told == 0 || row[KEY].told == y+1); row[KEY].told = y+1; /* I3 */
  assert(row[KEY].fp == f+1) /* I4 */
}
inline resolve(p, y, live, at_) { // internal/schedule/call.go Resolve; internal/schedule/lookups.go Found; call.go checkReplay
  each(f,2) {
    when(live && call[i].waits[f] && (f+1 == p || NOCHECK && call[i].marked) && (row[KEY].by == i+1 || row[KEY].made+1+TWOCLOCKS > at_))
      assert(row[KEY].by == i+1 || row[KEY].made+1 > at_); /* An expired key is not replayed. */
      success(y) fi;
    call[i].waits[f] = 0
  };
  next()
}
inline refuse() { // execute.go refuse; internal/schedule/call.go Refuse
  f = tx[t].fp[KEY] - 1; assert(!BAD || f == 1); /* Nobody hears another's error. */
  call[i].waits[f] = 0; part(REFUSED); call[i].single = 0; next()
}
inline fail() { // execute.go fail; internal/schedule/call.go Fail
  when(call[i].led) call[i].waits[call[i].lead]--; part(0) fi;
  call[i].single = 0; next()
}
inline begin() { // internal/schedule/schedule.go wake: call i goes into tx[u]
  if :: call[i].led :: !call[i].led && call[i].waits[0] -> call[i].lead = 0 :: !call[i].led && call[i].waits[1] -> call[i].lead = 1 fi;
  call[i].led = 1; call[i].at = running; tx[u].fp[KEY] = call[i].lead + 1; tx[u].by[KEY] = i + 1;
  when(BLIND && call[i].marked) tx[u].at = effect fi
}

/* What becomes of transactions and rows. */
inline locks() { each(k,K) { when(tx[t].fp[k] && !owner[k] && !LIE) owner[k] = t+1 fi } }
inline unlock(w) { each(k,K) { when(owner[k] == w+1) owner[k] = 0 fi } }
inline wipe(w) {
  each(k,K) {
    tx[w].fp[k] = 0; tx[w].by[k] = 0; tx[w].pay[k] = 0; tx[w].suspect[k] = 0;
    when(writer[k] == w+1) writer[k] = 0 fi
  };
  tx[w].heard = 0; tx[w].gone = 0; tx[w].old = 0; tx[w].s = 0; tx[w].began = 0
}
inline finish(w) { unlock(w); wipe(w); tx[w].at = free; used-- } // internal/store/transaction.go End
inline appear() { /* What was flushed can be seen. */
  row[k].seen = 1; when(!LATEROW) row[k].effects++ fi;
  assert(row[k].effects == 1); /* I1 */
  assert(row[k].by != REFUSED || !I6)
}
inline lost(arrived) { // separate.go undone: tx[u] loses its connection, with or without what was sent last
  each(j,K) {
    when(tx[u].heard && tx[u].fp[j])
      i = C(tx[u].s,j);
      if :: BEGUN(u) || tx[u].suspect[j] -> again(tx[u].suspect[j]) :: else -> unknown() fi fi
  };
  tx[u].heard = 0; tx[u].s = 0;
  when(BEGUN(u) || SENT(u) && !(arrived)) wipe(u); tx[u].at = orphan fi
}
inline recover() { /* The database is back, or another is in its place. */
  each(u,T) { when(tx[u].at != free) lost(1); finish(u) fi };
  each(k,K) { when(row[k].fp && !row[k].seen) appear() fi };
  each(i,S*K) { when(call[i].at == acknowledging) call[i].at = polled fi };
  rest()
}
inline remove(rightly) {
  each(u,T) { when(tx[u].at == visible || tx[u].at == released) tx[u].gone = 1 fi };
  row[0].fp = 0; row[0].pay = 0; row[0].by = 0; row[0].made = 0; row[0].seen = 0; row[0].copied = 0; row[0].told = 0;
  when(rightly) row[0].effects = 0 fi
}

active [T] proctype transaction() {
  byte t = _pid;
end: do
  :: d_step { tx[t].at == lock -> // internal/store/transaction.go Claim: the locks are tried
       tx[t].began = clock; tx[t].old = ONESNAPSHOT && !row[0].seen;
       when(!ONESNAPSHOT) locks() fi;
       tx[t].at = look; rest() }
  :: d_step { tx[t].at == look -> // internal/store/transaction.go Claim; execute.go replayFound: the look-up has a newer snapshot
       when(ONESNAPSHOT) locks() fi;
       each(j,K) {
         i = C(tx[t].s,j);
         if :: !tx[t].fp[j]
            :: tx[t].fp[j] && row[j].seen && !tx[t].old ->
               tx[t].fp[j] = 0;
               if :: SYNC && !NOACK -> poll() :: else -> resolve(row[j].fp, row[j].pay, 1, tx[t].began) fi
            :: READSTANDBY && promoted && tx[t].fp[j] && demoted.fp == tx[t].fp[j] && call[i].waits[demoted.fp-1] ->
               f = demoted.fp - 1; success(demoted.pay)
            :: else -> when(!LIE && owner[j] != t+1) tx[t].fp[j] = 0; poll() fi
         fi
       };
       if :: tx[t].fp[0] || tx[t].fp[K-1] -> tx[t].at = effect :: else -> finish(t) fi;
       rest() }
  :: atomic { tx[t].at == effect ->
       i = C(tx[t].s, (tx[t].fp[0] -> 0 : K-1));
       if
       :: call[i].commits < TRIES && GOOD(0) && GOOD(K-1) -> // execute.go run, commit
          each(j,K) { if :: true :: tx[t].fp[j] -> tx[t].pay[j] = 1 fi };
          when(LATEROW) row[0].effects++; assert(row[0].effects == 1) fi;
          tx[t].at = insert
       :: !BOTH && !(BAD && GOOD(0) && GOOD(K-1)) -> d_step { refuse(); finish(t) } // separate.go undoneSingle
       :: !BOTH && call[i].commits > 1 -> d_step { refuse(); finish(t) } // execute.go replayFound: COMMIT failed twice
       :: !BOTH && call[i].commits >= TRIES -> d_step { fail(); finish(t) } // execute.go replayFound: maxTries
       :: !BOTH && LATE -> d_step { fail(); wipe(t); tx[t].at = orphan } // internal/store/effect.go classify; internal/store/transaction.go Abandon
       :: BOTH -> // separate.go bisect, split: what fails is a suspect, whether by itself or through the other
          when(FOLLOWERS && call[i].waits[tx[t].fp[0]-1] > 1) f = tx[t].fp[0]-1; success(0) fi;
          when(BADITEM) i = C(tx[t].s,0); refuse(); i = C(tx[t].s,1); refuse() fi;
          if :: tx[t].suspect[0] = !GOOD(0) :: tx[t].suspect[0] = 1 fi;
          if :: tx[t].suspect[K-1] = !GOOD(K-1) :: tx[t].suspect[K-1] = 1 fi;
          d_step {
            if :: KEPT(0) || KEPT(K-1) -> tx[t].at = insert
               :: else -> each(j,K) { i = C(tx[t].s,j); again(1) }; finish(t) fi }
       fi;
       rest() }
  :: d_step { tx[t].at == insert && FREE(0) && FREE(K-1) -> // internal/store/transaction.go Commit: the unique check has waited
       if :: TWIN(0) || TWIN(K-1) -> // internal/store/store.go inserting; separate.go undone, undoneSingle
             assert(LIE || BLIND); /* Honest locks leave no race to lose. */
             each(j,K) { when(tx[t].heard && tx[t].fp[j]) i = C(tx[t].s,j); call[i].marked = NOCHECK; again(tx[t].suspect[j]) fi };
             finish(t)
          :: else ->
             each(k,K) { when(KEPT(k)) writer[k] = t+1 fi };
             tx[t].at = inserted
       fi;
       rest() }
  :: d_step { tx[t].at == inserted -> // execute.go row
       each(k,K) {
         when(KEPT(k)) row[k].fp = tx[t].fp[k]; row[k].by = tx[t].by[k]; row[k].made = tx[t].began;
           row[k].pay = tx[t].pay[(ROWORDER -> K-1-k : k)] fi };
       tx[t].at = flushed; rest() }
  :: d_step { tx[t].at == flushed && (!SYNC || SAFE(0) && SAFE(K-1)) ->
       each(k,K) { when(KEPT(k)) appear(); writer[k] = 0 fi };
       tx[t].at = visible; rest() }
  :: d_step { tx[t].at == flushed && SYNC && faults -> // internal/store/transaction.go listen: its wait for the standby is cancelled
       faults--; when(!NOTICE) u = t; lost(1) fi;
       each(k,K) { when(KEPT(k)) appear(); writer[k] = 0 fi };
       tx[t].at = visible; rest() }
  :: d_step { tx[t].at == visible -> unlock(t); tx[t].at = released; rest() }
  :: d_step { tx[t].at == released -> // execute.go commit; separate.go bisect
       each(j,K) {
         when(tx[t].heard && tx[t].fp[j])
           i = C(tx[t].s,j);
           if :: tx[t].suspect[j] -> again(1) :: else -> resolve(tx[t].fp[j], tx[t].pay[j], !tx[t].gone, tx[t].began) fi fi
       };
       finish(t); rest() }
  :: d_step { tx[t].at == orphan -> finish(t); rest() } /* The backend sees that nobody is there. */
  :: atomic { faults && tx[t].heard && (CUT == 1 || CUT == 2 && !BEGUN(t)) -> // internal/store/store.go claiming; internal/store/effect.go classify, send: the connection is cut
       faults--;
       if :: d_step { u = t; lost(1) } :: SENT(t) -> d_step { u = t; lost(0) } fi;
       rest() }
  od
}

active [S*K] proctype worker() {
  byte c = _pid - T;
end: do
  :: atomic { call[c].at == queued && used < T -> // internal/schedule/schedule.go wake; internal/store/transaction.go begin
       d_step { do :: tx[u].at != free -> u++ :: else -> break od;
         used++; tx[u].at = lock; tx[u].heard = 1; tx[u].s = c / K; i = c };
       begin();
       if :: true
          :: K == 2 && c % K == 0 && !call[c].single && call[c+K-1].at == queued && !call[c+K-1].single -> i = c+K-1; begin()
       fi;
       rest() }
  :: d_step { call[c].at == polled && row[c % K].seen -> // engine.go lookUp
       if :: SYNC && !NOACK -> call[c].at = acknowledging :: else -> i = c; resolve(row[KEY].fp, row[KEY].pay, 1, clock) fi;
       rest() }
  :: d_step { call[c].at == acknowledging && row[c % K].copied -> // internal/store/transaction.go Acknowledge
       i = c; resolve(row[KEY].fp, row[KEY].pay, 1, clock); rest() }
  :: d_step { call[c].at == polled && !row[c % K].seen && !owner[c % K] -> i = c; next(); rest() } // internal/schedule/lookups.go Missed
  :: atomic { leaves && call[c].waits[0] + call[c].waits[1] > 0 -> // internal/schedule/schedule.go leave
       i = c; leaves--; if :: call[c].waits[0] :: call[c].waits[1] -> f = 1 fi;
       if :: !(call[c].led && call[c].lead == f && call[c].waits[f] == 1) /* a follower */
          :: call[c].led && call[c].lead == f -> d_step { part(0) }
       fi;
       d_step { call[c].waits[f]--; when(call[c].at != running && !WAITED) next() fi };
       rest() }
  od
}

active proctype world() {
  byte s;
end: do
  :: atomic { idle -> idle--; // internal/schedule/schedule.go join
       when(begun) select(i : 0 .. S*K-1) fi; when(begun || BAD) select(f : 0 .. 1) fi; begun = 1; /* The first is any. */
       call[i].waits[f]++; when(call[i].at == none) call[i].at = queued fi; rest() }
  :: atomic { CRASH && faults && begun -> faults--; select(s : 0 .. S-1); select(f : 0 .. 1); /* kill -9 of server s; its callers come again. */
       d_step {
         each(i,S*K) { when(i / K == s) idle = idle + call[i].waits[0] + call[i].waits[1]; call[i].waits[0] = 0; call[i].waits[1] = 0 fi };
         each(u,T) { when(tx[u].heard && tx[u].s == s) lost(f) fi };
         each(i,S*K) { when(i / K == s) next() fi };
         s = 0; rest() } }
  :: d_step { CRASH && faults && begun -> faults--; recover() } /* The database crashes. */
  :: d_step { STANDBY && !promoted && row[0].fp && !row[0].copied -> row[0].copied = 1 } /* The standby has it. */
  :: d_step { STANDBY && faults && !promoted && begun && (SYNC || row[0].copied || !row[0].told || LOSSY) -> /* A failover. */
       faults--; promoted = 1;
       when(!row[0].copied)
         assert(!row[0].told); /* I2 */
         when(READSTANDBY && row[0].seen) demoted.fp = row[0].fp; demoted.pay = row[0].pay fi;
         remove(1) fi;
       recover() }
  :: d_step { clock < TICKS -> clock++ }
  :: d_step { forgets && row[0].seen && !owner[0] -> forgets--; remove(1); rest() } // internal/store/keys.go Forget
  :: d_step { row[0].seen && row[0].made+2 <= clock+PURGECLOCK -> remove(row[0].made+2 <= clock); rest() } // internal/store/keys.go Purge
  od
}

active proctype judge() { /* Nothing happens any more: everybody has an answer, and an effect has its row. */
  timeout -> assert(idle == 0 && used == 0);
  each(k,K) { assert((row[k].effects == row[k].seen || PURGECLOCK) && row[k].seen == (row[k].fp > 0) && !owner[k] && !writer[k]) }; /* I5 */
  each(i,S*K) { assert(call[i].at == none) }
}
