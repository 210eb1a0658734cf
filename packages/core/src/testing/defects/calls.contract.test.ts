import { callDefects, extraDefects, lastDefects, secretDefects } from './calls.test.helper.ts'
import { copyDefects } from './logs.test.helper.ts'
import { proveDefects } from './prove.test.helper.ts'

proveDefects('copies, ports, pools, calls and secrets', [
  ...copyDefects,
  ...extraDefects,
  ...callDefects,
  ...secretDefects,
  ...lastDefects,
])
