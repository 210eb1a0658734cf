/** The zoo: every fault, what the host has against it, and what comes of it. */

export interface Fate {
  /** What it does, as the end of "a plugin that …". */
  does: string
  /** What the host has against it. */
  defence: string
  /** The state that its provider ends in, and what must be in the reason that is told. */
  state: 'ready' | 'degraded' | 'quarantined' | 'failed'
  reason?: RegExp
  /** What became of what it tried, as it tells itself: for what is refused while the plugin lives on. */
  outcome?: RegExp
  /** Held by the plugin's own user, which only a host under root can give; cage: by a control group, which it cannot make everywhere. */
  needs?: 'root' | 'cage'
  /**
   * What comes of it where there is no defence, in words, and what must be seen then. Absent: it does nothing wrong.
   * hasty: only a host that takes what arrives for a whole frame comes to it.
   */
  harm?: { is: string; shows: RegExp; hasty?: boolean }
}

export type Fault =
  | 'tame'
  | 'throws-in-a-timer'
  | 'leaves-a-rejection'
  | 'exits'
  | 'aborts'
  | 'is-shot'
  | 'throws-at-its-start'
  | 'hangs-at-its-start'
  | 'eats-its-heap'
  | 'eats-beside-its-heap'
  | 'opens-files-without-end'
  | 'loops-for-ever'
  | 'never-lets-go'
  | 'never-answers'
  | 'answers-too-late'
  | 'writes-garbage'
  | 'announces-two-gigabytes'
  | 'never-ends-a-frame'
  | 'writes-byte-by-byte'
  | 'writes-no-json'
  | 'answers-what-nobody-asked'
  | 'answers-twice'
  | 'asks-the-host-for-more'
  | 'floods-its-wire'
  | 'spoils-prototypes'
  | 'lies-about-itself'
  | 'says-what-it-may-not'
  | 'floods-its-output'
  | 'asks-for-a-secret-of-others'
  | 'reads-what-it-may-not'
  | 'reads-the-database'
  | 'opens-the-database'
  | 'writes-what-it-may-not'
  | 'removes-the-data'
  | 'starts-programs'
  | 'forks-without-end'
  | 'connects'
  | 'listens'
  | 'kills-its-host'

const apart = 'its own process, started again with back-off'
const violation = 'the wire refuses what breaks the protocol: quarantine'
const silence = 'a call has a deadline, and a plugin that leaves one open is taken for hung: quarantine'
const node = 'Node’s permission model, from the manifest'
const denied = /^ERR_ACCESS_DENIED$/
const done = { is: 'does it', shows: /^done: / }
const falls = { is: 'a host that reads it falls', shows: /^fell: / }
const waits = { is: 'a host that asks it waits for ever', shows: /^waits for \d+ bytes$/ }
const ends = (how: string): Required<Fate>['harm'] => ({
  is: 'whatever shares its process ends with it',
  shows: new RegExp(`^ended: ${how}$`),
})

export const faults: Readonly<Record<Fault, Fate>> = {
  tame: { does: 'does nothing wrong', defence: 'none', state: 'ready', outcome: /^none$/ },

  'throws-in-a-timer': {
    does: 'throws where nobody catches it',
    defence: apart,
    state: 'degraded',
    reason: /^it ended by itself \(exit 70\)$/,
    harm: ends('70'),
  },
  'leaves-a-rejection': {
    does: 'leaves a rejection unhandled',
    defence: apart,
    state: 'degraded',
    reason: /^it ended by itself \(exit 70\)$/,
    harm: ends('70'),
  },
  exits: { does: 'exits', defence: apart, state: 'degraded', reason: /^it ended by itself \(exit 9\)$/, harm: ends('9') },
  aborts: {
    does: 'aborts',
    defence: apart,
    state: 'degraded',
    reason: /^it ended by itself \(SIGABRT\)$/,
    harm: ends('SIGABRT'),
  },
  'is-shot': {
    does: 'ends by a segmentation fault',
    defence: apart,
    state: 'degraded',
    reason: /^it ended by itself \(SIGSEGV\)$/,
    harm: ends('SIGSEGV'),
  },
  'throws-at-its-start': {
    does: 'throws at its start',
    defence: apart,
    state: 'degraded',
    reason: /^configure: configure: out of luck/,
    harm: { is: 'it is never there', shows: /^error: .*out of luck/ },
  },
  'hangs-at-its-start': {
    does: 'never answers its configuration',
    defence: 'a deadline for the start, from the manifest',
    state: 'degraded',
    reason: /^configure: the plugin did not answer in time/,
    harm: waits,
  },
  'eats-its-heap': {
    does: 'fills its heap',
    defence: 'a cap of the heap, from the manifest',
    state: 'degraded',
    reason: /^its heap is full: it may have 64 MiB \(heapMb of its limits\)$/,
    harm: done,
  },
  'eats-beside-its-heap': {
    does: 'fills the memory beside its heap with Buffers',
    defence: 'the host looks at what it has, and under root its control group has a limit',
    state: 'degraded',
    reason:
      /^it took (\d+ MiB of memory, and may have 256 \(heapMb of its limits, twice, and 128\)|more memory than its control group has)$/,
    harm: done,
  },
  'opens-files-without-end': {
    does: 'opens files without end',
    defence: 'a limit of open files',
    state: 'ready',
    outcome: /^EMFILE$/,
    harm: done,
  },

  'loops-for-ever': {
    does: 'loops for ever',
    defence: silence,
    state: 'quarantined',
    reason: /^it broke the protocol: (probe|list) was past its deadline: nothing for 30000 ms$/,
    harm: waits,
  },
  'never-lets-go': {
    does: 'runs microtasks for ever',
    defence: silence,
    state: 'quarantined',
    reason: /^it broke the protocol: (probe|list) was past its deadline: nothing for 30000 ms$/,
    harm: waits,
  },
  'never-answers': {
    does: 'never answers',
    defence: 'each call has a deadline',
    state: 'degraded',
    reason: /^probe: the deadline has passed$/,
    harm: waits,
  },
  'answers-too-late': {
    does: 'answers after the deadline',
    defence: 'each call has a deadline',
    state: 'degraded',
    reason: /^probe: the deadline has passed$/,
    harm: waits,
  },

  'writes-garbage': {
    does: 'writes garbage',
    defence: violation,
    state: 'quarantined',
    reason: /^it broke the protocol: frame of unknown kind 7$/,
    harm: falls,
  },
  'announces-two-gigabytes': {
    does: 'announces a frame of two gigabytes',
    defence: `${violation}, before a byte of it is held`,
    state: 'quarantined',
    reason: /^it broke the protocol: frame of 2147483648 bytes; at most 1048576$/,
    harm: { is: 'a host that believes it waits for as many', shows: /^waits for 2147483648 bytes$/ },
  },
  'never-ends-a-frame': {
    does: 'begins a frame and never ends it',
    defence: 'a frame that began has a deadline: quarantine',
    state: 'quarantined',
    reason: /^it broke the protocol: a frame did not end within 30000 ms$/,
    harm: { is: 'a host that believes it waits for the rest', shows: /^waits for 524288 bytes$/ },
  },
  'writes-byte-by-byte': {
    does: 'writes its frames byte by byte',
    defence: 'what arrives is no frame before all of it is there',
    state: 'ready',
    outcome: /^none$/,
    harm: { is: 'a host that takes what arrives for a frame falls', shows: /^fell: /, hasty: true },
  },
  'writes-no-json': {
    does: 'writes what is no JSON',
    defence: violation,
    state: 'quarantined',
    reason: /^it broke the protocol: a message that is no JSON: Expected property name/,
    harm: falls,
  },
  'answers-what-nobody-asked': {
    does: 'answers a call that there is not',
    defence: violation,
    state: 'quarantined',
    reason: /^it broke the protocol: an answer to request 987654321, which was never made$/,
    harm: falls,
  },
  'answers-twice': {
    does: 'answers a call twice',
    defence: violation,
    state: 'quarantined',
    reason: /^it broke the protocol: a second answer to request \d+$/,
    harm: falls,
  },
  'asks-the-host-for-more': {
    does: 'asks the host for what the contract has not',
    defence: violation,
    state: 'quarantined',
    reason: /^it broke the protocol: the plugin asked for host\.exec$/,
    harm: { is: 'a host that does as it is asked runs its command', shows: /^did: uid=/ },
  },
  'floods-its-wire': {
    does: 'sends the host messages without end',
    defence: 'what a plugin sends unasked has a limit in each second, and what does nothing one in all: quarantine',
    state: 'quarantined',
    // The limit of a second comes too late for it, however fast the machine; the wire's own tests show that one.
    reason: /^it broke the protocol: more than 10000 messages about what is over$/,
    harm: { is: 'the host takes all of them', shows: /^took: 40000\d messages$/ },
  },
  'spoils-prototypes': {
    does: 'answers with the key of a prototype',
    defence: violation,
    state: 'quarantined',
    reason: /^it broke the protocol: a message that is no JSON: a key __proto__$/,
    harm: { is: 'every object of the host has it', shows: /^spoilt: / },
  },
  'lies-about-itself': {
    does: 'describes itself otherwise than its manifest',
    defence: 'what it says is compared with its manifest before it is configured',
    state: 'failed',
    reason: /^it describes itself otherwise than its manifest: 'capabilities\.work' differs$/,
    harm: { is: 'it is taken for what it says', shows: /^none$/ },
  },
  'says-what-it-may-not': {
    does: 'puts a secret and control characters into its errors',
    defence: 'texts are cut, and known secrets and control characters taken out, before anybody sees them',
    state: 'degraded',
    reason: /^refused: \[31m\[secret\]$/,
    harm: { is: 'its control characters come to whoever reads them', shows: /^error: .*\p{Cc}/u },
  },
  'floods-its-output': {
    does: 'writes 60 MB to its output',
    defence: 'lines are cut, and 200 are kept',
    state: 'ready',
    outcome: /^none$/,
    harm: { is: 'a host that keeps it has all of it', shows: /^kept: 6\d{7} bytes$/ },
  },

  'asks-for-a-secret-of-others': {
    does: 'asks for a secret that its manifest does not name',
    defence: 'the host gives what the manifest names',
    state: 'ready',
    outcome: /^internal$/,
    harm: done,
  },
  'reads-what-it-may-not': {
    does: 'reads a file that it did not ask for',
    defence: node,
    state: 'ready',
    outcome: denied,
    harm: done,
  },
  'reads-the-database': { does: 'reads the database of the host', defence: node, state: 'ready', outcome: denied, harm: done },
  'opens-the-database': {
    does: 'opens the database by node:sqlite',
    defence: 'node:sqlite is closed',
    state: 'ready',
    outcome: /^ERR_UNKNOWN_BUILTIN_MODULE$/,
    harm: done,
  },
  'writes-what-it-may-not': { does: 'writes beside its own folder', defence: node, state: 'ready', outcome: denied, harm: done },
  'removes-the-data': { does: 'removes the data of the host', defence: node, state: 'ready', outcome: denied, harm: done },
  'starts-programs': { does: 'starts programs', defence: node, state: 'ready', outcome: denied, harm: done },
  'forks-without-end': {
    does: 'may start programs, and forks without end',
    defence: 'its control group has a limit of processes, and its children end with it',
    state: 'ready',
    outcome: /^EAGAIN$/,
    needs: 'cage',
    harm: done,
  },
  connects: { does: 'connects without permission', defence: node, state: 'ready', outcome: denied, harm: done },
  listens: { does: 'listens without permission', defence: node, state: 'ready', outcome: denied, harm: done },
  'kills-its-host': {
    does: 'sends a signal to its host',
    defence: 'a user of its own',
    state: 'ready',
    outcome: /^EPERM$/,
    needs: 'root',
    harm: done,
  },
}
