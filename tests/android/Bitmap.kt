// What examples/android uses of Android, LiteRT and an app, for the tests.
package android.graphics
class Bitmap(val width: Int, val height: Int, private val argb: IntArray) {
    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        for (row in 0 until height) for (column in 0 until width) pixels[offset + row * stride + column] = argb[(y + row) * this.width + x + column]
    }
}
