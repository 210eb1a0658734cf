// All mutants of a source file, by the table of operators that Stryker documents (stryker-mutator.io, "Supported mutators"), but for
// texts and patterns: what a message says is held by golden tests where it matters.
import { parseAst } from 'vitest/node'

/** @typedef {{ start: number, end: number }} Span */

/**
 * One change: characters `start` to `end` of the file become `instead`. They lie in `scope`, an expression or a block that can be chosen
 * as a whole while the program runs.
 * @typedef {{ operator: string, start: number, end: number, instead: string, scope: Span }} Edit
 */

/** @typedef {(operator: string, at: Span, instead: string) => void} TellEdit */

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

/** Where a chain goes on from its end to its begin. */
const inTheChain = new Map([
  ['ChainExpression', 'expression'],
  ['MemberExpression', 'object'],
  ['CallExpression', 'callee'],
])

/** @param {string} source @returns {Edit[]} in order */
export function editsOf(source) {
  /** @type {Edit[]} */
  const edits = []
  /** @param {SyntaxNode} node @param {SyntaxNode} [chain] what ends with the node, when a `?.` in it finds nothing */
  const visit = (node, chain) => {
    if (typed.has(node.type)) return visit(node['expression'], chain)
    if (/^TS|^Import|^ExportAll/.test(node.type)) return undefined
    mutate(node, source, (operator, { start, end }, instead) => {
      const scope = scopeOf(node, { start, end }, chain)
      if (source.slice(start, end) !== instead) edits.push({ operator, start, end, instead, scope })
    })
    const whole = node.type === 'ChainExpression' ? node : chain
    for (const [key, value] of Object.entries(node)) {
      if (key === 'typeAnnotation' || key === 'returnType' || key === 'typeArguments' || key === 'typeParameters') continue
      const inChain = inTheChain.get(node.type) === key
      for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) visit(child, inChain ? whole : undefined)
    }
    return undefined
  }
  visit(parseAst(source, { lang: 'ts' }))
  return edits.sort((a, b) => a.start - b.start || a.end - b.end || (a.instead < b.instead ? -1 : 1))
}

/** @param {SyntaxNode} node @param {Span} at @param {SyntaxNode | undefined} chain @returns {Span} */
function scopeOf(node, at, chain) {
  // A condition is a part of a statement.
  const { start, end } = node.type.endsWith('Statement') || node.type === 'ConditionalExpression' ? at : (chain ?? node)
  return { start, end }
}

/** @param {unknown} value @returns {value is SyntaxNode} */
function isNode(value) {
  return typeof value === 'object' && value !== null && typeof (/** @type {any} */ (value).type) === 'string'
}

/** @param {SyntaxNode} node @param {string} source @param {TellEdit} edit */
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

/** @param {SyntaxNode} node @param {string} source @param {TellEdit} edit */
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
