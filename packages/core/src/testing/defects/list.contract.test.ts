import { listDefects } from './list.test.helper.ts'
import { proveDefects } from './prove.test.helper.ts'
import { agentDefects, fieldDefects, workDefects } from './work.test.helper.ts'

proveDefects('lists, work, agents and fields', [...listDefects, ...workDefects, ...agentDefects, ...fieldDefects])
