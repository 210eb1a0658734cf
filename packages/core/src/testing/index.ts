/** For tests of plugins and of the host: the conformance suite, and a provider that does as it is told. */
export * from './fake/config.ts'
export * from './fake/conformance.ts'
export * from './fake/control.ts'
export * from './fake/life.ts'
export * from './fake/plugin.ts'
export type { Mark, VendorEvent, WorkerRecord } from './fake/vendor.ts'
export * from './ids.ts'
export type { Bench, Names, OpenOptions, SpecOver } from './suite/bench.ts'
export { inProcessPlugin, type PluginLink, processPlugin, type StartPlace, type StartPlugin } from './suite/link.ts'
export {
  checkProvider,
  type CheckOptions,
  conformanceTests,
  describeProvider,
  type Outcome,
  type TestRunner,
} from './suite/run.ts'
export type { Calls, Session } from './suite/session.ts'
export * from './suite/setup.ts'
export type { SuiteTest } from './suite/test.ts'
