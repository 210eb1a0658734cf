export { migrate } from './migrate.js'
export { history, level, move } from './stock.js'
