/** Names of ours in a cluster: {@link GROUP}. */

/** The API group of all kinds, and the prefix of our labels, annotations and finalizers. */
export const GROUP = 'muster.dev'
export const VERSION = 'v1alpha1'
export const API_VERSION: string = `${GROUP}/${VERSION}`

/** On each Worker: which host it is of. A view looks at no others. */
export const HOST_LABEL: string = `${GROUP}/host`
export const POOL_LABEL: string = `${GROUP}/pool`
/** With the value `true` on a Worker that is deleted: its lease is not waited for, and there is no grace. */
export const FORCE_ANNOTATION: string = `${GROUP}/force`

/** Of all kinds: an object goes once what it stands for has gone. */
export const FINALIZER: string = `${GROUP}/host`
