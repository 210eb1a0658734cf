// All mutants of a source file, by the table of operators that Stryker documents (stryker-mutator.io, "Supported mutators"), but for
// texts and patterns: what a message says is held by golden tests where it matters.
import { parseAst } from 'vitest/node'

/**
 * One change: characters `start` to `end` of the file become `instead`.
 * @typedef {{ operator: string, start: number, end: number, instead: string }} Edit
 */

/** @typedef {{ type: string, start: number, end: number, [key: string]: any }} SyntaxNode */

const swapped = new Map([
  ['+', ['-']],
  ['-', ['+']],
  ['*', ['/']],
  ['/', ['*']],
  ['%', ['*']],
  ['<', ['<=', '>=']],
  ['<=', ['<', '>']],
  ['>', ['>=', '<=']],
  ['>=', ['>', '<']],
  ['===', ['!==']],
  ['!==', ['===']],
  ['&&', ['||']],
  ['||', ['&&']],
  ['??', ['&&']],
  ['+=', ['-=']],
  ['-=', ['+=']],
  ['*=', ['/=']],
  ['++', ['--']],
  ['--', ['++']],
])

/** Methods with a counterpart, and those that are left out with their arguments. */
const otherMethod = new Map([
  ['startsWith', 'endsWith'],
  ['endsWith', 'startsWith'],
  ['some', 'every'],
  ['every', 'some'],
  ['min', 'max'],
  ['max', 'min'],
  ['toLowerCase', 'toUpperCase'],
  ['toUpperCase', 'toLowerCase'],
])
const leftOut = new Set(['trim', 'slice', 'sort', 'reverse', 'filter', 'subarray'])

/** Of these the value stands in one place, the rest is types. */
const typed = new Set([
  'TSAsExpression',
  'TSNonNullExpression',
  'TSSatisfiesExpression',
  'TSTypeAssertion',
  'TSInstantiationExpression',
])

/** @param {string} source @returns {Edit[]} in order */
export function editsOf(source) {
  /** @type {Edit[]} */
  const edits = []
  /** @param {string} operator @param {{ start: number, end: number }} at @param {string} instead */
  const edit = (operator, { start, end }, instead) => {
    if (source.slice(start, end) !== instead) edits.push({ operator, start, end, instead })
  }
  /** @param {SyntaxNode} node */
  const visit = (node) => {
    if (typed.has(node.type)) return visit(node['expression'])
    if (/^TS|^Import|^ExportAll/.test(node.type)) return undefined
    mutate(node, source, edit)
    for (const [key, value] of Object.entries(node)) {
      if (key === 'typeAnnotation' || key === 'returnType' || key === 'typeArguments' || key === 'typeParameters') continue
      for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) visit(child)
    }
    return undefined
  }
  visit(parseAst(source, { lang: 'ts' }))
  return edits.sort((a, b) => a.start - b.start || a.end - b.end || (a.instead < b.instead ? -1 : 1))
}

/** @param {unknown} value @returns {value is SyntaxNode} */
function isNode(value) {
  return typeof value === 'object' && value !== null && typeof (/** @type {any} */ (value).type) === 'string'
}

/** @param {SyntaxNode} node @param {string} source @param {(operator: string, at: { start: number, end: number }, instead: string) => void} edit */
function mutate(node, source, edit) {
  const { type } = node
  const text = (/** @type {SyntaxNode} */ one) => source.slice(one.start, one.end)
  if (type === 'BinaryExpression' || type === 'LogicalExpression' || type === 'AssignmentExpression') {
    const texts = node['operator'].startsWith('+') && [node['left'], node['right']].some(isText)
    if (!texts)
      for (const other of swapped.get(node['operator']) ?? [])
        edit(type, operatorAt(source, { left: node['left'].end, right: node['right'].start, operator: node['operator'] }), other)
  } else if (type === 'IfStatement' || type === 'ConditionalExpression') {
    edit('condition', node['test'], 'true')
    edit('condition', node['test'], 'false')
  } else if (type === 'WhileStatement' || type === 'ForStatement') {
    if (node['test']) edit('condition', node['test'], 'false')
  } else if (type === 'BlockStatement') {
    if (node['body'].length > 0) edit('block', node, '{}')
  } else if (type === 'Literal' && typeof node['value'] === 'boolean') edit('boolean', node, String(!node['value']))
  else if (type === 'UnaryExpression') {
    if (node['operator'] === '!') edit('unary', node, text(node['argument']))
    else if (node['operator'] === '-') edit('unary', node, `+${text(node['argument'])}`)
  } else if (type === 'UpdateExpression') {
    const { argument, operator, prefix } = node
    const [other = operator] = swapped.get(operator) ?? []
    edit('update', node, prefix ? `${other}${text(argument)}` : `${text(argument)}${other}`)
  } else if (type === 'ArrayExpression') {
    if (node['elements'].length > 0) edit('array', node, '[]')
  } else if (type === 'ObjectExpression') {
    if (node['properties'].length > 0) edit('object', node, '{}')
  } else if (type === 'ArrowFunctionExpression') {
    if (node['body'].type !== 'BlockStatement') edit('arrow', node, '() => undefined')
  } else if (type === 'MemberExpression' && node['optional'] === true) {
    const at = source.indexOf('?.', node['object'].end)
    edit('optional chaining', { start: at, end: at + 2 }, node['computed'] === true ? '' : '.')
  } else if (type === 'CallExpression') method(node, source, edit)
}

/** @param {SyntaxNode} node @param {string} source @param {(operator: string, at: { start: number, end: number }, instead: string) => void} edit */
function method(node, source, edit) {
  const { callee } = node
  if (callee.type !== 'MemberExpression' || callee['computed'] === true || callee['optional'] === true) return
  const { name } = callee['property']
  const other = otherMethod.get(name)
  if (other !== undefined) edit('method', callee['property'], other)
  if (leftOut.has(name)) edit('method', node, source.slice(callee['object'].start, callee['object'].end))
}

/** @param {SyntaxNode} node */
function isText(node) {
  return node.type === 'TemplateLiteral' || (node.type === 'Literal' && typeof node['value'] === 'string')
}

/** Between two operands stand brackets, comments and the operator. @param {string} source @param {{ left: number, right: number, operator: string }} where */
function operatorAt(source, { left, right, operator }) {
  const start = left + source.slice(left, right).indexOf(operator)
  return { start, end: start + operator.length }
}
