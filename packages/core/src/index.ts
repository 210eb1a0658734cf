/** What a plugin author needs, and what the host and the author share. */
export * from './errors.ts'
export * from './phase.ts'
export * from './spec.ts'
export * from './provider.ts'
export * from './credential.ts'
export * from './plugin.ts'
export { serve } from './wire/serve.ts'
export { type SpanBatch, type SpanFacts, type SpanRecord, vendorSpan, type VendorSpan } from './wire/trail.ts'
export { proxySecrets, proxyVariables, trusted } from './wire/network.ts'
export { type CallOptions, type LifeOptions, toCallOptions } from './wire/call-options.ts'
export { connectPlugin, type CredentialClient, type PluginConnection, type WorkerClient } from './wire/client.ts'
export type { ConnectOptions } from './wire/client-core.ts'
export { type CloseReason, type ViolationCode, violationCodes } from './wire/close.ts'
export {
  createRunner,
  type RawChunk,
  type RawExec,
  type RawExecSession,
  type Runner,
  type RunnerOptions,
} from './runner/index.ts'
