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
  /** Held by the plugin's own user, which only a host under root can give. */
  root?: true
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
  | 'connects'
  | 'listens'
  | 'kills-its-host'

const apart = 'its own process, started again with back-off'
const violation = 'the wire refuses what breaks the protocol: quarantine'
const silence = 'a call has a deadline, and a plugin that leaves one open is taken for hung: quarantine'
const node = 'Node’s permission model, from the manifest'
const denied = /^ERR_ACCESS_DENIED$/

export const faults: Readonly<Record<Fault, Fate>> = {
  tame: { does: 'does nothing wrong', defence: 'none', state: 'ready', outcome: /^none$/ },

  'throws-in-a-timer': {
    does: 'throws where nobody catches it',
    defence: apart,
    state: 'degraded',
    reason: /ended by itself \(exit 70\)/,
  },
  'leaves-a-rejection': {
    does: 'leaves a rejection unhandled',
    defence: apart,
    state: 'degraded',
    reason: /ended by itself \(exit 70\)/,
  },
  exits: { does: 'exits', defence: apart, state: 'degraded', reason: /ended by itself \(exit 9\)/ },
  aborts: { does: 'aborts', defence: apart, state: 'degraded', reason: /ended by itself \(.*SIGABRT\)/ },
  'is-shot': { does: 'ends by a segmentation fault', defence: apart, state: 'degraded', reason: /ended by itself \(.*SIGSEGV\)/ },
  'throws-at-its-start': { does: 'throws at its start', defence: apart, state: 'degraded', reason: /configure: .*out of luck/ },
  'hangs-at-its-start': {
    does: 'never answers its configuration',
    defence: 'a deadline for the start, from the manifest',
    state: 'degraded',
    reason: /configure/,
  },
  'eats-its-heap': {
    does: 'fills its heap',
    defence: 'a cap of the heap, from the manifest',
    state: 'degraded',
    reason: /heap is full|of memory/,
  },
  'eats-beside-its-heap': {
    does: 'fills the memory beside its heap with Buffers',
    defence: 'the host looks at what it has, and under root its control group has a limit',
    state: 'degraded',
    reason: /of memory|more memory/,
  },
  'opens-files-without-end': {
    does: 'opens files without end',
    defence: 'its own process, with its own limit of open files',
    state: 'ready',
    outcome: /^(EMFILE|done: all)$/,
  },

  'loops-for-ever': {
    does: 'loops for ever',
    defence: silence,
    state: 'quarantined',
    reason: /was past its deadline: nothing for/,
  },
  'never-lets-go': {
    does: 'runs microtasks for ever',
    defence: silence,
    state: 'quarantined',
    reason: /was past its deadline: nothing for/,
  },
  'never-answers': { does: 'never answers', defence: 'each call has a deadline', state: 'degraded', reason: /deadline/ },
  'answers-too-late': {
    does: 'answers after the deadline',
    defence: 'each call has a deadline',
    state: 'degraded',
    reason: /deadline/,
  },

  'writes-garbage': { does: 'writes garbage', defence: violation, state: 'quarantined', reason: /frame of unknown kind 7/ },
  'announces-two-gigabytes': {
    does: 'announces a frame of two gigabytes',
    defence: `${violation}, before a byte of it is held`,
    state: 'quarantined',
    reason: /frame of 2147483648 bytes; at most 1048576/,
  },
  'never-ends-a-frame': {
    does: 'begins a frame and never ends it',
    defence: 'a frame that began has a deadline: quarantine',
    state: 'quarantined',
    reason: /broke the protocol/,
  },
  'writes-byte-by-byte': { does: 'writes its frames byte by byte', defence: 'none needed', state: 'ready', outcome: /^none$/ },
  'writes-no-json': { does: 'writes what is no JSON', defence: violation, state: 'quarantined', reason: /broke the protocol/ },
  'answers-what-nobody-asked': {
    does: 'answers a call that there is not',
    defence: violation,
    state: 'quarantined',
    reason: /987654321/,
  },
  'answers-twice': { does: 'answers a call twice', defence: violation, state: 'quarantined', reason: /broke the protocol/ },
  'asks-the-host-for-more': {
    does: 'asks the host for what the contract has not',
    defence: violation,
    state: 'quarantined',
    reason: /host\.exec/,
  },
  'spoils-prototypes': {
    does: 'answers with the key of a prototype',
    defence: violation,
    state: 'quarantined',
    reason: /a key __proto__/,
  },
  'lies-about-itself': {
    does: 'describes itself otherwise than its manifest',
    defence: 'what it says is compared with its manifest before it is configured',
    state: 'failed',
    reason: /'capabilities.work' differs/,
  },
  'says-what-it-may-not': {
    does: 'puts a secret and control characters into its errors',
    defence: 'texts are cut, and known secrets and control characters taken out, before anybody sees them',
    state: 'degraded',
    reason: /^refused: /,
  },
  'floods-its-output': {
    does: 'writes 60 MB to its output',
    defence: 'lines are cut, and 200 are kept',
    state: 'ready',
    outcome: /^none$/,
  },

  'asks-for-a-secret-of-others': {
    does: 'asks for a secret that its manifest does not name',
    defence: 'the host gives what the manifest names',
    state: 'ready',
    outcome: /^internal$/,
  },
  'reads-what-it-may-not': { does: 'reads a file that it did not ask for', defence: node, state: 'ready', outcome: denied },
  'reads-the-database': { does: 'reads the database of the host', defence: node, state: 'ready', outcome: denied },
  'opens-the-database': {
    does: 'opens the database by node:sqlite',
    defence: 'node:sqlite is closed',
    state: 'ready',
    outcome: /^ERR_UNKNOWN_BUILTIN_MODULE$/,
  },
  'writes-what-it-may-not': { does: 'writes beside its own folder', defence: node, state: 'ready', outcome: denied },
  'removes-the-data': { does: 'removes the data of the host', defence: node, state: 'ready', outcome: denied },
  'starts-programs': { does: 'starts programs', defence: node, state: 'ready', outcome: denied },
  connects: { does: 'connects without permission', defence: node, state: 'ready', outcome: denied },
  listens: { does: 'listens without permission', defence: node, state: 'ready', outcome: denied },
  'kills-its-host': {
    does: 'sends a signal to its host',
    defence: 'a user of its own',
    state: 'ready',
    outcome: /^EPERM$/,
    root: true,
  },
}
