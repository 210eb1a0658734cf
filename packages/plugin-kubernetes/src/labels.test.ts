import { ownerTagsSchema } from '@muster/core'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { annotationsOf, changedName, labelsOf, ownerSelector, specDigest, tagsOf } from './labels.ts'
import { id, specOf } from './testing/pure.test.helper.ts'

const labelValue = /^(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/

test('every tag is the value of a label, and read again as it was', () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z0-9-]{1,40}$/), { minLength: 4, maxLength: 4 }), (values) => {
      const [owner = '', provider = '', pool = '', epoch = ''] = values
      const tags = {
        'muster-owner': owner,
        'muster-provider': provider,
        'muster-pool': pool,
        'muster-worker': id,
        'muster-epoch': epoch,
      }
      const labels = labelsOf(specOf({ tags: ownerTagsSchema.parse(tags) }))
      for (const value of Object.values(labels)) expect(value).toMatch(labelValue)
      expect(tagsOf({ name: id, labels })).toEqual(tags)
    }),
  )
})

test('a user’s labels are labels where the cluster takes them, and kept whole in any case', () => {
  const labels = { colour: 'blue', 'a b': 'c', long: 'x'.repeat(64), 'muster-owner': 'me' }
  const spec = specOf({ labels })
  expect(labelsOf(spec)).toMatchObject({ 'label.muster.dev/colour': 'blue', 'muster-owner': 'owner' })
  expect(Object.keys(labelsOf(spec))).not.toContain('label.muster.dev/a b')
  expect(JSON.parse(annotationsOf(spec)['muster.dev/labels'] ?? '')).toEqual(labels)
})

test.each([
  ['another name', { name: 'w00000000000000000000000002', labels: labelsOf(specOf()) }],
  ['no labels', { name: id }],
  ['half of them', { name: id, labels: { 'muster-owner': 'owner', 'muster-worker': id } }],
])('an object with %s is none of ours', (_what, meta) => {
  expect(tagsOf(meta)).toBeUndefined()
})

test('whose it is stands in the annotations too, whatever becomes of its labels', () => {
  const spec = specOf()
  const annotations = annotationsOf(spec)
  expect(tagsOf({ name: id, annotations })).toEqual(spec.tags)
  expect(tagsOf({ name: id, annotations, labels: { ...labelsOf(spec), 'muster-owner': 'other' } })).toEqual(spec.tags)
  expect(tagsOf({ name: 'w00000000000000000000000002', annotations })).toBeUndefined()
  expect(tagsOf({ name: id, annotations: { ...annotations, 'muster.dev/tags': '{' }, labels: labelsOf(spec) })).toEqual(spec.tags)
})

test('of what was sent, the first name of ours that came back otherwise is told', () => {
  const spec = specOf({ labels: { colour: 'blue' } })
  const sent = { name: id, labels: { ...labelsOf(spec), mine: '1' }, annotations: annotationsOf(spec) }
  expect(changedName(sent, { ...sent, labels: { ...sent.labels, mine: '2', more: '3' } })).toBeUndefined()
  expect(changedName(sent, { ...sent, labels: { ...sent.labels, 'muster-pool': 'other' } })).toBe('muster-pool')
  expect(changedName(sent, { ...sent, annotations: {} })).toBe('muster.dev/spec')
  // Who holds it is said by us, later.
  const drains = { ...sent, labels: { ...sent.labels, 'muster.dev/drain': 'leased' } }
  const drain = (to: string): object => ({ ...drains, labels: { ...drains.labels, 'muster.dev/drain': to } })
  expect(changedName(drains, { ...drains, ...drain('idle') })).toBeUndefined()
  expect(changedName(drains, { ...drains, ...drain('waits') })).toBe('muster.dev/drain')
})

test('the selector names owner and provider exactly, and asks for a worker', () => {
  const tags = { 'muster-owner': 'owner-', 'muster-provider': 'k' }
  expect(ownerSelector(tags)).toBe('muster-owner=Zowner-Z,muster-provider=k,muster-worker')
  expect(ownerSelector(tags, ['a', 'b'])).toBe('muster-owner=Zowner-Z,muster-provider=k,muster-worker in (a,b)')
})

test('the digest is of what a spec says, not of the order it says it in', () => {
  const { id: name, ...rest } = specOf({ env: { A: '1', B: '2' } })
  expect(specDigest({ ...rest, env: { B: '2', A: '1' }, id: name })).toBe(specDigest(specOf({ env: { A: '1', B: '2' } })))
  expect(specDigest(specOf({ env: { A: '2' } }))).not.toBe(specDigest(specOf({ env: { A: '1' } })))
})
