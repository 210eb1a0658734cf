/** Every kind of condition: what it says, what Muster does meanwhile, and what an operator does. The reference is made of it. */

export interface ConditionKind {
  scope: 'host' | 'provider' | 'pool'
  /** What is so. */
  meaning: string
  /** What goes on, and what does not. */
  meanwhile: string
  /** What ends it. */
  mend: string
}

const raised = [
  'disk-low',
  'output-waits',
  'clock-differs',
  'certificate',
  'auth',
  'silent',
  'list-failing',
  'terminate-failing',
  'unprepare-failing',
  'orphans-held',
  'orphan-stays',
  'missing',
  'leaving',
  'development',
  'kept',
  'stranded',
  'disabled',
  'paused',
  'draining',
  'stock',
] as const
/** The store's own, which nobody raises, and those whose type names a provider or a plugin besides. */
const others = ['store-full', 'store-busy', 'store-failed', 'quota', 'refused', 'fell-back'] as const

export type ConditionType = (typeof raised)[number] | `quota:${string}` | `refused:${string}` | `fell-back:${string}`

export const conditionKinds: Readonly<Record<(typeof raised | typeof others)[number], ConditionKind>> = {
  'store-full': {
    scope: 'host',
    meaning: 'The disk of the data folder is full: nothing can be stored.',
    meanwhile: 'Workers and runs go on. Nothing new is taken, since what is not stored is not begun; calls answer `disk-full`.',
    mend: 'Make room on that disk. The store is tried every second and goes on by itself.',
  },
  'store-busy': {
    scope: 'host',
    meaning: 'Another process locks the database.',
    meanwhile: 'As with a full disk: nothing new is begun.',
    mend: 'End the other process. A copy is made with `muster backup`, never by opening the file.',
  },
  'store-failed': {
    scope: 'host',
    meaning: 'The disk or the database answers with an error.',
    meanwhile: 'As with a full disk: nothing new is begun.',
    mend: 'Look at the disk and at the message. A damaged file is replaced by a backup: see backup.md.',
  },
  'disk-low': {
    scope: 'host',
    meaning: 'The disk of the data folder is nearly full.',
    meanwhile: 'Everything works, until the last of it is left: see `output-waits`.',
    mend: 'Make room, or keep less: `muster storage` shows what takes it, `retention` of the configuration says what is kept.',
  },
  'output-waits': {
    scope: 'host',
    meaning:
      'What is left of the disk of the data folder (256 MiB, or 2 % of a smaller disk) is kept for the store (`disk`); or the log or an output of the run that is named cannot be written (`runs`), as where the output is larger than the room that is left, or `runs` is a disk of its own that is full.',
    meanwhile:
      'Commands go on in their workers, and lose nothing. What they print is not stored yet, and a run with output, inputs or stdin does not end before it is, cancelled or not. Not ready.',
    mend: 'Make room on that disk, mend what the message names, or cancel the run that it names. Runs try twice a second and go on by themselves.',
  },
  'clock-differs': {
    scope: 'host',
    meaning:
      'Deadlines are counted by a clock that differs from the machine’s: that was set, or the daemon or its machine stood still.',
    meanwhile:
      'The daemon counts each second that it watches as one, so that no lease, lifetime or deadline ends early; times in which nobody watched count later. All times that are shown are the machine’s; a deadline to come moves by it as the difference is made up for.',
    mend: 'It is made up for by three seconds a minute, or by a restart of the daemon at once.',
  },
  certificate: {
    scope: 'host',
    meaning: 'The certificate on disk cannot be used, or the one in use ends within two weeks.',
    meanwhile: 'The one in use is served.',
    mend: 'Renew the files that `host.tls` names. They are read again within a minute, or at once by `muster apply`.',
  },
  auth: {
    scope: 'provider',
    meaning: 'The vendor refuses the rights of this provider.',
    meanwhile: 'No launch goes there but a try, ever more rarely; pools use their next placement. Its workers go on.',
    mend: 'Mend the secret or the rights. A secret in a file or variable is read anew with each try.',
  },
  silent: {
    scope: 'provider',
    meaning:
      "The process of its plugin answers nothing, not even the host's own question, which no code of its author answers: its event loop stands. A call that takes long is none of this.",
    meanwhile:
      'New work goes to the next placement. Calls end by their deadlines; where one stays without an answer after that, the process is ended and started anew. Its workers go on.',
    mend: 'Nothing but time, or the author of the plugin: `muster providers` shows since when, and the oldest open call. It ends with the next answer, or with the process.',
  },
  'list-failing': {
    scope: 'provider',
    meaning: 'Its workers cannot be listed, three times in a row.',
    meanwhile: 'Nothing is taken for gone. Lost workers and orphans are not noticed.',
    mend: 'See the message, and `muster providers`. It ends with the next list that succeeds.',
  },
  'terminate-failing': {
    scope: 'provider',
    meaning: 'A worker there cannot be ended.',
    meanwhile: 'Tries go on. The worker counts against the maximum of its pool, and may cost money.',
    mend: 'See `muster why worker` of those that are `terminating`. When it is certain that one is gone: `muster workers forget`.',
  },
  'unprepare-failing': {
    scope: 'provider',
    meaning: 'What was prepared there for a pool, as a network, is needed no longer and cannot be removed, three times in a row.',
    meanwhile: 'Tries go on, ever more rarely. Other pools notice nothing; a provider that is leaving stays for it.',
    mend: 'See the message, which names the pool and the reason. It ends with the next try that succeeds, or when the pool needs it again.',
  },
  'orphans-held': {
    scope: 'provider',
    meaning: 'More workers with our tag and without a record were found than one pass may remove: 5, or a fifth of all.',
    meanwhile: 'None of them is removed: a store that was restored or copied looks just so.',
    mend: '`muster providers reclaim NAME --dry-run` shows them. Where the store is the right one: the same without `--dry-run`. Where it was restored: see backup.md.',
  },
  'orphan-stays': {
    scope: 'provider',
    meaning: 'A worker without a record cannot be removed.',
    meanwhile: 'It is tried again with each list.',
    mend: 'See the message; remove it at the vendor by hand where that is quicker.',
  },
  missing: {
    scope: 'provider',
    meaning:
      'The daemon was started with a configuration that does not name it, it still has workers, and it could not be opened as it was: its plugin is gone, or nothing is noted of it. Otherwise it would be `leaving`.',
    meanwhile:
      'Nothing knows how to reach it: its workers are neither watched nor ended, and count against their pools. Runs and leases there wait, and end by their own deadlines only.',
    mend: 'Do what the message says, as to bring its plugin back, and restart. Or name it again as it was, `muster apply`, take it out, `muster apply`: then it is `leaving`. Or, where its workers are known to be gone, `muster workers forget` each.',
  },
  leaving: {
    scope: 'provider',
    meaning: 'The configuration names it no longer, and it still has workers.',
    meanwhile:
      'Its process goes on for them, as it was configured last and with its secrets from where they came, and takes no launch. A daemon that is started anew knows it too, also where the file was edited while there was none.',
    mend: 'Nothing but time: it ends with its last worker. `muster workers --provider NAME` shows them. One that has none and does not go is given up with `muster providers forget NAME`.',
  },
  development: {
    scope: 'provider',
    meaning: 'A plugin under development is attached as this provider, with a pool of the same name: nobody checks its files.',
    meanwhile: 'It works as any other. No configuration and no lock has it.',
    mend: 'It ends at its deadline, which the message names, or when whoever attached it ends `muster-plugin dev`.',
  },
  kept: {
    scope: 'provider',
    meaning: 'Another version of its plugin took over with `--keep-old`, and has workers that only the one before accounts for.',
    meanwhile:
      'The version before goes on for these, after a restart of the daemon too, as long as the lock holds it; launches go to the one that took over.',
    mend: 'Nothing but time: it ends with the last of them, once a list has shown that it has none without a record either. Where the message says that it cannot be started: mend that, since nobody else reaches its workers.',
  },
  stranded: {
    scope: 'provider',
    meaning:
      'Workers belong to a version of its plugin, or to another plugin, that neither runs nor is kept, and the one that the daemon was started with does not show them: the lock was changed while no daemon ran, or the switch to that version was not written to it. Or, as the message says, its configuration was changed while no daemon ran, and may mean another place now.',
    meanwhile:
      'None of them is taken for lost or gone: their leases go on, their ends wait, and no idle one is handed out. They count against their pools. What the version that runs shows of them after all is its own.',
    mend: 'Let their version take over again: `muster plugins rollback ALIAS`, or `muster plugins upgrade ALIAS@VERSION`; with `--keep-old` the one that runs stays for what only it knows. Where the message names another package, name that in plugins.json again, lock it and restart the daemon. Where it says that the provider was configured otherwise, configure it as it was and restart; another place is another provider. Where one is known to be gone: `muster workers terminate ID --force`, then `muster workers forget ID`.',
  },
  disabled: {
    scope: 'provider',
    meaning: 'An operator lets it take no launch.',
    meanwhile: 'Its workers go on; pools use their next placement or wait.',
    mend: '`muster providers enable NAME`.',
  },
  paused: {
    scope: 'pool',
    meaning: 'An operator lets the pool launch and hand out nothing.',
    meanwhile: 'Leases are taken and wait; leased workers go on.',
    mend: '`muster resume POOL`.',
  },
  draining: {
    scope: 'pool',
    meaning: 'An operator lets the pool keep no worker that nobody holds.',
    meanwhile: 'What is asked for is still served.',
    mend: '`muster resume POOL`.',
  },
  stock: {
    scope: 'pool',
    meaning: 'Workers for the stock of the pool cannot be made as its section asks.',
    meanwhile: 'Tries go on, ever more rarely. Leases with wishes of their own may still be served.',
    mend: "Mend the pool's `worker` section; `muster why pool NAME` shows the last refusal.",
  },
  'fell-back': {
    scope: 'pool',
    meaning:
      'The plugin of a provider of the pool could not start in the version that the lock holds, by its own fault, and the version before runs instead. The type is `fell-back:` and the alias of the plugin.',
    meanwhile: 'The version before does all work, after a restart too, as long as the lock holds the two versions as it did.',
    mend: 'Mend the version, or `muster plugins rollback ALIAS`, so that the lock says what runs. `muster plugins acknowledge ALIAS` ends the condition; another version that takes over does too.',
  },
  refused: {
    scope: 'pool',
    meaning:
      'A provider of the pool refuses its workers, and the state of the vendor is why, as an image that is not there while the pool pulls none. The type is `refused:` and the name of the provider.',
    meanwhile:
      'The next placement is used; where there is none, leases and stock wait. It is tried again after 5 seconds, then ever more rarely, at most every 5 minutes.',
    mend: 'Mend what the message names. It ends with the next worker there that gets ready; `muster providers reconcile NAME` ends it too, and tries at once where somebody waits.',
  },
  quota: {
    scope: 'pool',
    meaning: 'A provider of the pool is at a quota of its vendor. The type is `quota:` and the name of the provider.',
    meanwhile:
      'The size is taken for exhausted there for a while, or until a worker of ours has ended there; the next placement is used.',
    mend: 'Raise the quota at the vendor, or lower `scale.max`. It ends with the next launch that succeeds.',
  },
}
