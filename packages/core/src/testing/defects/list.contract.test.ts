import { listDefects } from './list.test.helper.ts'
import { proveDefects } from './prove.test.helper.ts'
import { fieldDefects, workDefects } from './work.test.helper.ts'

proveDefects('lists, work and fields', [...listDefects, ...workDefects, ...fieldDefects])
