// What examples/android uses of Android, LiteRT and an app, for the tests.
package android.content.res
class AssetManager
