import { execDefects } from './exec.test.helper.ts'
import { logDefects } from './logs.test.helper.ts'
import { proveDefects } from './prove.test.helper.ts'
import { terminalDefects } from './terminal.test.helper.ts'

proveDefects('logs and exec', [...logDefects, ...execDefects, ...terminalDefects])
