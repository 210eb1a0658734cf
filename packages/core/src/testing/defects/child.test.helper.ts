import { serve } from '../../wire/serve.ts'
import { realLife } from '../fake/life.ts'
import { defects } from './all.test.helper.ts'
import { defectivePlugin } from './defect.test.helper.ts'

const defect = defects.find(({ name }) => name === process.argv[2])
if (defect === undefined) throw new Error(`no defect ${process.argv[2]}`)
serve(defectivePlugin(defect, realLife))
