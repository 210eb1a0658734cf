import { serve } from '@muster/core'
import { plugin } from './index.ts'

serve(plugin)
