/** The wire's limits, each with its reason. They are part of the contract: other languages must hold them too. */

const KiB = 1024

/** Longest frame after its length field. Large enough for a page and for inline files, small enough to hold one per plugin. */
export const maxFrameBytes: number = 1024 * KiB

/** Longest payload of a byte stream's data frame, and of the payload part of an item: one read of a pipe. */
export const maxChunkBytes: number = 64 * KiB

/** Longest JSON header of an item: an observation with a full handle (4 KiB), tags and a long message fits. */
export const maxItemHeaderBytes: number = 16 * KiB

/** Longest payload of an item stream's data frame: header length, header, payload. */
export const maxItemBytes: number = 2 + maxItemHeaderBytes + maxChunkBytes

/** Credit of a stream when it opens: more than one item of the largest size, little enough for thousands of streams. */
export const streamWindowBytes: number = 256 * KiB

/** What each data frame costs on top of its bytes, so that a flood of tiny frames cannot fill the reader's memory with book-keeping. */
export const frameOverheadBytes = 64

/** The reader grants credit again when so much was taken, never in smaller pieces: few messages, and the other half keeps the writer busy. */
export const grantBytes: number = streamWindowBytes / 2

/** Most workers of one page, and most bytes of a page: half a frame, so that the envelope always fits. */
export const maxPageWorkers = 500
export const maxPageBytes: number = 512 * KiB

export const maxHandleBytes: number = 4 * KiB
export const maxInspectTargets = 100

/** Inline `files` and `env` of one launch; more goes by `inputs`. */
export const maxInlineBytes: number = 256 * KiB

/** A frame that began must end within this time; a healthy peer writes a frame at once. */
export const frameStallMs = 30_000

/** How long author code may go on after its signal aborted before the call is answered without it; the contract gives 1 s in all. */
export const settleMs = 500

/** How long the host waits, after an abort or a deadline, for the plugin's own answer before it settles alone. */
export const answerGraceMs = 900

/** A plugin that leaves an aborted call unanswered, or an ended stream unfinished, for so long is hung. */
export const unresponsiveMs = 30_000

/** Most open requests of one side. The host holds `limits.inFlight` far below it, and a call asks for few secrets. */
export const maxOpenRequests: number = 16 * KiB

/** Most requests and notifications of a plugin in a second, a longer one counted once more per KiB: some percent of one of the host's cores. */
export const maxUnaskedPerSecond = 20_000

/**
 * Most messages of a plugin, in all, about requests and streams that are over, beyond one for each of its requests and {@link lateOfStream} for
 * each stream, which may cross with their ends. They do nothing, however slowly they come; half of what may come in a second is no mistake.
 */
export const maxLate = 10_000

/** A reader grants the window in halves, and cancels once: all may cross with the end. */
export const lateOfStream = 3

/** Most spans that are kept of one call, its own included: what a call asks of a vendor is some requests; a loop that asks for hours is told by its first ones. */
export const maxCallSpans = 64

/** Most answers and notifications that wait for a peer that asks more but does not read. */
export const maxQueuedControl: number = 32 * KiB

/** Node's longest timer; a longer deadline is cut to it (24 days). */
export const maxTimerMs = 2_147_483_647

/** Longest error message and longest of its other texts, in characters. */
export const maxErrorMessage = 2000
export const maxErrorText = 500

/** Room for the envelope around params or a result. */
export const envelopeBytes = 1024
