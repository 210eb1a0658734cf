export { format, relative } from './format.js'
export { parse } from './parse.js'
