// Records and errors between their JSON form and the client's.

export function decode(text) {
  return text === null || text === undefined ? null : Buffer.from(text, 'base64')
}

export function encode(bytes) {
  return bytes === null || bytes === undefined ? null : Buffer.from(bytes).toString('base64')
}

export function recordOf(topic, partition, { offset, timestamp, key, value, headers }) {
  return {
    topic,
    partition,
    offset: Number(offset),
    timestamp: Number(timestamp),
    key: encode(key),
    value: encode(value),
    headers: Object.entries(headers ?? {}).flatMap(([name, values]) =>
      (Array.isArray(values) ? values : [values]).map((content) => [name, encode(content)]),
    ),
  }
}

// The broker's error code is on the failure, or on one of those that it was made of.
export function describe(failure) {
  const causes = [failure, failure.cause, failure.originalError, ...(failure.errors ?? []), ...(failure.groups ?? [])]
  for (const partition of failure.partitions ?? []) causes.push(partition.error)
  const withCode = causes.find((cause) => typeof (cause?.code ?? cause?.errorCode) === 'number')
  const code = withCode?.code ?? withCode?.errorCode
  return { code: code > 0 ? code : null, message: `${failure.name}: ${failure.message}` }
}
