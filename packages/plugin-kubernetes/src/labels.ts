/** Names, labels and annotations of our objects: how they are found again, and by whom. Pure. */
import { type LaunchSpec, type ListQuery, type OwnerTags, ownerTagsSchema, type PoolRef, workerIdSchema } from '@muster/core'
import { digestOf } from '@muster/provider-parts/digest'
import type { Meta } from './objects.ts'

/** The group of our names in the cluster: the prefix of annotations and of the user's labels. */
const group = 'muster.dev'

/** Annotations of a worker's Pod. */
export const annotation: Readonly<Record<'spec' | 'tags' | 'labels' | 'hosts', string>> = {
  /** Digest of the spec: the same id with another spec is a conflict. */
  spec: `${group}/spec`,
  /** The owner tags as JSON: labels are found by, and changed by many. */
  tags: `${group}/tags`,
  /** The user's labels as JSON: names and values may be anything. */
  labels: `${group}/labels`,
  /** Of a worker's policy: the names that were put before the worker, as `hostAliases`. */
  hosts: `${group}/hosts`,
}

/** Labels of ours beside the tags. */
export const label: Readonly<Record<'part' | 'egress' | 'prepared' | 'service' | 'drain', string>> = {
  /** What an object is: `worker`, or what of a pool. */
  part: `${group}/part`,
  /** How far the packets of a Pod may go. */
  egress: `${group}/egress`,
  /** Of what a pool has: digest of the preparation that made it, or needed it last. */
  prepared: `${group}/prepared`,
  /** The workers behind one Service. */
  service: `${group}/service`,
  /** The workers for which a drain waits. */
  drain: `${group}/drain`,
}

/** Values of `drain` of a worker whose pool lets idle ones go. */
export const held = 'leased'
const idle = 'idle'

/** Does it say of itself whether somebody holds it? */
export function isMarked({ labels = {} }: Meta): boolean {
  return labels[label.drain] === held || labels[label.drain] === idle
}

/** Who moves Pods to save nodes would end a worker in the middle of its job: these are the words that they heed. */
const stays = { 'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false', 'karpenter.sh/do-not-disrupt': 'true' } as const

/** What changes of a Pod when its holder does, as a merge patch. */
export function holdMarksOf(leased: boolean): { labels: Record<string, string>; annotations: Record<string, string | null> } {
  const free = { 'cluster-autoscaler.kubernetes.io/safe-to-evict': 'true', 'karpenter.sh/do-not-disrupt': null }
  return { labels: { [label.drain]: leased ? held : idle }, annotations: leased ? stays : free }
}

/** The user's labels stand below this prefix where the cluster takes them. */
export const userPrefix: string = `label.${group}/`

const tagNames: readonly (keyof OwnerTags)[] = ['muster-owner', 'muster-provider', 'muster-pool', 'muster-worker', 'muster-epoch']

/** By which an object says whose it is. */
export const markNames: readonly string[] = [...tagNames, annotation.tags]

/** A tag may begin and end with a hyphen, a label's value may not: such a one stands between two of these, which no tag has. */
const FENCE = 'Z'

/** A tag as the value of a label. */
export function labelValue(tag: string): string {
  return tag.startsWith('-') || tag.endsWith('-') ? `${FENCE}${tag}${FENCE}` : tag
}

function tagValue(label: string): string {
  return label.startsWith(FENCE) && label.endsWith(FENCE) && label.length > 1 ? label.slice(1, -1) : label
}

const isLabelPart = (text: string): boolean => /^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/.test(text)

/** Labels of a worker's Pod: its tags under their own names, and those of the user's labels that the cluster can select by. */
export function labelsOf({ tags, labels = {} }: LaunchSpec): Record<string, string> {
  const own = Object.entries(labels).filter(([name, value]) => isLabelPart(name) && (value === '' || isLabelPart(value)))
  return {
    ...Object.fromEntries(own.map(([name, value]) => [userPrefix + name, value])),
    ...Object.fromEntries(tagNames.map((name) => [name, labelValue(tags[name])])),
  }
}

/** Annotations of a worker's Pod. */
export function annotationsOf(spec: LaunchSpec): Record<string, string> {
  const { labels } = spec
  return {
    [annotation.spec]: specDigest(spec),
    [annotation.tags]: JSON.stringify(spec.tags),
    ...(labels === undefined ? {} : { [annotation.labels]: JSON.stringify(labels) }),
    ...stays,
  }
}

/** The owner tags of an object; undefined when it is none of ours. A worker's object has its id as its name. */
export function tagsOf({ name, labels = {}, annotations = {} }: Meta): OwnerTags | undefined {
  const labelled = tagNames.flatMap((tag) => (labels[tag] === undefined ? [] : [[tag, tagValue(labels[tag])]]))
  return checkedTags(writtenTags(annotations[annotation.tags]), name) ?? checkedTags(Object.fromEntries(labelled), name)
}

function checkedTags(found: unknown, name: string): OwnerTags | undefined {
  const parsed = ownerTagsSchema.safeParse(found)
  if (!parsed.success || parsed.data['muster-worker'] !== name) return undefined
  return workerIdSchema.safeParse(name).success ? parsed.data : undefined
}

function writtenTags(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}

/** Is it the worker of this provider of this owner? */
export function isOwn(tags: OwnerTags | undefined, of: ListQuery['tags']): tags is OwnerTags {
  return tags?.['muster-owner'] === of['muster-owner'] && tags['muster-provider'] === of['muster-provider']
}

/** The first of our labels and annotations that an object does not have as they were sent; undefined when it has all of them. */
export function changedName(sent: Meta, made: Meta): string | undefined {
  const lost = (from: Meta['labels'] = {}, now: Meta['labels'] = {}): string | undefined =>
    Object.keys(from).find(
      (name) =>
        (tagNames.some((tag) => tag === name) || name.startsWith(`${group}/`)) &&
        now[name] !== from[name] &&
        // Set by us since.
        !(name === label.drain && from[name] === held && now[name] === idle),
    )
  return lost(sent.labels, made.labels) ?? lost(sent.annotations, made.annotations)
}

/** Tags of a pool, as labels. */
export function poolLabels(tags: PoolRef['tags']): Record<string, string> {
  const names = ['muster-owner', 'muster-provider', 'muster-pool'] as const
  return Object.fromEntries(names.map((name) => [name, labelValue(tags[name])]))
}

/** What is a pool's has these labels; whoever has made it otherwise is a stranger. */
export function isPools({ labels = {} }: Meta, tags: PoolRef['tags']): boolean {
  return Object.entries(poolLabels(tags)).every(([name, value]) => labels[name] === value)
}

/** The selector for everything of a pool. */
export function poolSelector(tags: PoolRef['tags']): string {
  return Object.entries(poolLabels(tags))
    .map(([name, value]) => `${name}=${value}`)
    .join(',')
}

/** The selector for everything of a provider: its workers, and what its pools have. */
export function providerSelector(tags: ListQuery['tags']): string {
  return `muster-owner=${labelValue(tags['muster-owner'])},muster-provider=${labelValue(tags['muster-provider'])}`
}

/** What a pool's own objects are called: a label of DNS, which readers know by the pool's name. */
export function poolName({ 'muster-owner': owner, 'muster-provider': provider, 'muster-pool': pool }: PoolRef['tags']): string {
  return `muster-${pool}-${digestOf([owner, provider, pool]).slice(0, 8)}`
}

/** The selector for the workers of one provider of one owner; of some of them only, when ids are given. */
export function ownerSelector(tags: ListQuery['tags'], ids?: readonly string[]): string {
  // Another one of ours, of a pool, has no worker.
  return `${providerSelector(tags)},${ids === undefined ? 'muster-worker' : `muster-worker in (${ids.join(',')})`}`
}

/** sha256 over the spec with its names in order, cut to 128 bits: enough to tell specs apart. */
export function specDigest(spec: LaunchSpec): string {
  return digestOf(spec).slice(0, 32)
}
