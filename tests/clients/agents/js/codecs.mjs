// The codecs that kafkajs leaves to others.

import { decompress } from 'fzstd'
import SnappyCodec from 'kafkajs-snappy'
import { compressFrame, decompressFrame } from 'lz4-napi'
import { ZstdCodec } from 'zstd-codec'

// Two libraries for zstd: the one that compresses cannot read frames that do not name their size, as streams do not.

export function codecs({ CompressionCodecs, CompressionTypes }) {
  CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: (encoder) => compressFrame(encoder.buffer),
    decompress: (buffer) => decompressFrame(buffer),
  })
  const zstd = new Promise((ready) => ZstdCodec.run((module) => ready(new module.Simple())))
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async (encoder) => Buffer.from((await zstd).compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(decompress(buffer)),
  })
}
